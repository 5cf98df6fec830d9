"""The graded tasks, one module per exercise set; each module lists its declarations in `TASKS`."""
