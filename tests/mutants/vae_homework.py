"""Bugs in the tasks of ex05 and in the callables they send that the tests must notice."""

from tests.mutants.mutant import Mutant

EX05 = "course_lib/grading/tasks/ex05_variational_inference_and_vae.py"
FIXTURES = "course_lib/grading/fixtures.py"
RIGHT = "tests/grading/test_tasks.py::test_independent_right_answers_pass"
WRONG = "tests/grading/test_tasks.py::test_other_wrong_answers_are_refused"

MUTANTS = [
    Mutant("the reference draw uses the variance", EX05,
           "def _draw_z(mu, logvar, eps):\n    return mu + (0.5 * logvar)",
           "def _draw_z(mu, logvar, eps):\n    return mu + (logvar)", (f"{RIGHT}[reparameterize-draw_by_addcmul]",)),
    Mutant("the reference divergence is averaged over d", EX05, "return _kl_terms(mu, logvar).sum(1)",
           "return _kl_terms(mu, logvar).mean(1)", (f"{RIGHT}[gaussian_kl-kl_textbook]",)),
    Mutant("the reference likelihood swaps black and white", EX05,
           "return x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)",
           "return x * F.logsigmoid(-logits) + (1 - x) * F.logsigmoid(logits)",
           (f"{RIGHT}[bernoulli_log_likelihood-bernoulli_by_bce]",)),
    Mutant("beta weighs the likelihood in the reference bound", EX05, "kl, beta: likelihood - beta * kl",
           "kl, beta: beta * likelihood - kl", (f"{RIGHT}[elbo-elbo_by_distributions]",)),
    Mutant("no gradient is asked of the bound", EX05, "grad=(0, 3), edge=edge)", "edge=edge)",
           (f"{WRONG}[a decoder without gradient]",)),
    Mutant("the reference IWAE forgets log k", EX05, "return (torch.logsumexp(log_w, 0) - math.log(len(log_w))).mean()",
           "return torch.logsumexp(log_w, 0).mean()", (f"{RIGHT}[iwae_bound-iwae_by_max]",)),
    Mutant("the reference covariance has sigma, not its square", EX05,
           "return weight @ weight.T + sigma**2 * torch.eye", "return weight @ weight.T + sigma * torch.eye",
           (f"{RIGHT}[linear_gaussian_log_marginal-marginal_by_low_rank]",)),
    Mutant("the reference posterior forgets the prior", EX05, "matrix = (eye + weight.T @ weight / sigma**2)",
           "matrix = (weight.T @ weight / sigma**2)",
           (f"{RIGHT}[linear_gaussian_posterior-posterior_by_conditioning]",)),
    Mutant("the encoder sent to answers swaps its outputs", FIXTURES, "return mu, 2 * torch.tanh(logvar)",
           "return 2 * torch.tanh(logvar), mu", ("tests/grading/test_fixtures.py",)),
    Mutant("the decoder sent to answers cuts the gradient", FIXTURES,
           "return (z @ weight.T + bias).reshape(len(z), *shape)",
           "return (z @ weight.T + bias).reshape(len(z), *shape).detach()", ("tests/grading/test_fixtures.py",)),
]  # fmt: skip
