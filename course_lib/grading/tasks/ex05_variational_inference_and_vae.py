"""Tasks of ex05: reparameterisation, the two terms of the bound, IWAE, and a model whose likelihood is exact."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from course_lib.grading.codec import Fixture
from course_lib.grading.task import ANSWERS, Case, Mistake, Task
from course_lib.grading.tasks import _draw as draw
from course_lib.grading.tasks._draw import F32, F64

LOG_2PI = math.log(2 * math.pi)
EXERCISE = "ex05_variational_inference_and_vae"
FORBIDDEN = (*ANSWERS, "course_lib.samplers")

# --- reparameterize -------------------------------------------------------------------------------------------------


def _draw_z(mu, logvar, eps):
    return mu + (0.5 * logvar).exp() * eps


def _draw_cases(g):
    def one(shape, dtype, label, level=0.0, noise=1.0, edge=False):
        mu, eps = draw.normal(g, *shape, dtype=dtype), noise * draw.normal(g, *shape, dtype=dtype)
        return Case(label, (mu, draw.uniform(g, -2, 2, *shape, dtype=dtype) + level, eps), grad=(0, 1, 2), edge=edge)

    return [
        one((2, 2), F64, "2 codes in the plane"),
        one((5, 3), F32, "5 codes in 3 dimensions"),
        one((30, 8), F64, "30 codes in 8 dimensions"),
        one((64, 20), F32, "64 codes in 20 dimensions"),
        one((1, 4), F64, "a single code"),
        one((6, 1), F32, "codes of one dimension"),
        one((4, 3), F64, "noise of 0: the mean itself", noise=0.0, edge=True),
        one((4, 3), F32, "a standard deviation near 0", level=-25.0, edge=True),
        one((4, 3), F64, "a standard deviation of thousands", level=18.0, edge=True),
    ]


REPARAMETERIZE = Task(
    name="reparameterize",
    exercise=EXERCISE,
    points=1.0,
    signature=("mu", "logvar", "eps"),
    outputs=("z",),
    reference=_draw_z,
    cases=_draw_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("variance_for_std",
            "The noise is scaled by the variance, exp(logvar). Scale it by the standard deviation, exp(logvar / 2).",
            lambda m, v, e: m + v.exp() * e),
        Mistake("logvar_as_std",
            "The number logvar itself is used as the standard deviation. That is exp(logvar / 2).",
            lambda m, v, e: m + v * e),
        Mistake("half_logvar_as_std",
            "The log of the standard deviation is used as the standard deviation. Take its exp.",
            lambda m, v, e: m + 0.5 * v * e),
        Mistake("root_of_logvar",
            "The root of logvar is taken, which is NaN below 0. The root of the variance is exp(logvar / 2).",
            lambda m, v, e: m + v.sqrt() * e),
        Mistake("precision",
            "The sign in the exponent is turned: exp(-logvar / 2) is 1 over the standard deviation.",
            lambda m, v, e: m + (-0.5 * v).exp() * e),
        Mistake("softplus",
            "The standard deviation is made with softplus. logvar is a log of a variance: exp(logvar / 2).",
            lambda m, v, e: m + F.softplus(v) * e),
        Mistake("no_noise",
            "This is the mean alone. Add the scaled noise.",
            lambda m, v, e: m + 0 * v * e),
        Mistake("no_mean",
            "The mean is not added.",
            lambda m, v, e: (0.5 * v).exp() * e),
        Mistake("no_std",
            "The noise is added without a scale.",
            lambda m, v, e: m + e + 0 * v),
        Mistake("mean_scaled_too",
            "The mean is scaled as well. Scale only the noise.",
            lambda m, v, e: (m + e) * (0.5 * v).exp()),
        Mistake("noise_subtracted",
            "The noise is subtracted. In distribution that is the same, but here eps is given: add it.",
            lambda m, v, e: m - (0.5 * v).exp() * e),
        Mistake("small_number_in_the_std",
            "A small number is added to the standard deviation. It is exp(logvar / 2), and that is never 0.",
            lambda m, v, e: m + ((0.5 * v).exp() + 1e-3) * e),
        Mistake("gradient_stopped",
            "The values are right, but no gradient reaches mu and logvar. That gradient is what the trick is for.",
            lambda *a: _draw_z(*a).detach()),
        Mistake("gradient_of_logvar_stopped",
            "The values are right, but no gradient reaches logvar: the standard deviation was detached.",
            lambda m, v, e: _draw_z(m, v.detach(), e)),
    ),
    next_step="Draw a thousand codes of one mu and logvar, and compare their mean and variance with these two.",
)  # fmt: skip

# --- gaussian_kl ----------------------------------------------------------------------------------------------------


def _kl_terms(mu, logvar):
    return 0.5 * (mu.square() + logvar.expm1() - logvar)


def _kl_reference(mu, logvar):
    return _kl_terms(mu, logvar).sum(1)


def _kl_wrong(terms=lambda m, v: m.square() + v.exp() - 1 - v, half=0.5, reduce=lambda t: t.sum(1)):
    """The divergence with one thing changed: its terms, the half, what is summed."""
    return lambda mu, logvar: reduce(half * terms(mu, logvar))


def _kl_cases(g):
    def one(b, d, dtype, label, low=-2.0, high=2.0, edge=False):
        args = (draw.normal(g, b, d, dtype=dtype), draw.uniform(g, low, high, b, d, dtype=dtype))
        return Case(label, args, grad=(0, 1), edge=edge)

    zero = torch.zeros(3, 2, dtype=F64)
    return [
        one(2, 2, F64, "2 codes in the plane"),
        one(5, 3, F32, "5 codes in 3 dimensions"),
        one(30, 8, F64, "30 codes in 8 dimensions"),
        one(64, 20, F32, "64 codes in 20 dimensions"),
        one(4, 4, F64, "as many codes as dimensions"),
        one(1, 5, F64, "a single code"),
        one(6, 1, F32, "codes of one dimension"),
        Case("the prior itself: 0", (zero, zero.clone()), grad=(0, 1), edge=True),
        one(4, 3, F32, "a posterior far narrower than the prior", low=-30.0, high=-20.0, edge=True),
        one(4, 3, F64, "a posterior far wider than the prior", low=8.0, high=12.0, edge=True),
    ]


GAUSSIAN_KL = Task(
    name="gaussian_kl",
    exercise=EXERCISE,
    points=1.0,
    signature=("mu", "logvar"),
    outputs=("kl",),
    reference=_kl_reference,
    cases=_kl_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("half_missing",
            "The sum is not halved.",
            _kl_wrong(half=1.0)),
        Mistake("wrong_sign",
            "The sign is turned. A divergence is never negative.",
            _kl_wrong(half=-0.5)),
        Mistake("mean_over_d",
            "The terms are averaged over d. Sum them: the divergence grows with the number of dimensions.",
            _kl_wrong(reduce=lambda t: t.mean(1))),
        Mistake("summed_over_everything",
            "The terms are summed over the batch as well. Return one value for each row.",
            _kl_wrong(reduce=torch.sum)),
        Mistake("mean_over_batch",
            "The values are averaged over the batch. Return one value for each row.",
            _kl_wrong(reduce=lambda t: t.sum(1).mean())),
        Mistake("summed_over_batch_axis",
            "The sum runs over the batch and leaves one value for each dimension. Sum over d.",
            _kl_wrong(reduce=lambda t: t.sum(0))),
        Mistake("terms_not_summed",
            "These are the terms of the sum. Add them up over d.",
            _kl_wrong(reduce=lambda t: t)),
        Mistake("logvar_is_log_std",
            "Here logvar is used as the log of the standard deviation. It is the log of the variance.",
            _kl_wrong(lambda m, v: m.square() + (2 * v).exp() - 1 - 2 * v)),
        Mistake("logvar_as_variance",
            "The number logvar is used as the variance. The variance is exp(logvar).",
            _kl_wrong(lambda m, v: m.square() + v - 1 - v.log())),
        Mistake("log_of_variance_missing",
            "The term -logvar is missing.",
            _kl_wrong(lambda m, v: m.square() + v.exp() - 1)),
        Mistake("variance_missing",
            "The term exp(logvar) is missing.",
            _kl_wrong(lambda m, v: m.square() - 1 - v)),
        Mistake("one_missing",
            "The -1 of each dimension is missing, so the divergence of the prior from itself is not 0.",
            _kl_wrong(lambda m, v: m.square() + v.exp() - v)),
        Mistake("one_for_all_dimensions",
            "The 1 is subtracted once. Subtract it for each dimension.",
            lambda m, v: 0.5 * ((m.square() + v.exp() - v).sum(1) - 1)),
        Mistake("mean_missing",
            "The term mu² is missing.",
            _kl_wrong(lambda m, v: v.exp() - 1 - v + 0 * m)),
        Mistake("mean_not_squared",
            "The mean is not squared.",
            _kl_wrong(lambda m, v: m + v.exp() - 1 - v)),
        Mistake("other_way_round",
            "This is KL(N(0, I) ‖ N(mu, exp logvar)). The two are swapped.",
            _kl_wrong(lambda m, v: m.square() / v.exp() + (-v).exp() - 1 + v)),
        Mistake("entropy_sign",
            "The sign of logvar is turned. A wide posterior is rewarded: subtract logvar.",
            _kl_wrong(lambda m, v: m.square() + v.exp() - 1 + v)),
    ),
    next_step="Minimise it over mu and logvar: where does it end?",
)  # fmt: skip

# --- bernoulli_log_likelihood ---------------------------------------------------------------------------------------


def _bernoulli_terms(logits, x):
    return x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)


def _rows(terms):
    return terms.reshape(len(terms), -1).sum(1)


def _bernoulli_reference(logits, x):
    return _rows(_bernoulli_terms(logits, x))


def _bernoulli_wrong(terms=_bernoulli_terms, reduce=_rows):
    return lambda logits, x: reduce(terms(logits, x))


def _naive_terms(logits, x, eps=0.0):
    p = torch.sigmoid(logits)
    return x * (p + eps).log() + (1 - x) * (1 - p + eps).log()


def _bernoulli_cases(g):
    def one(shape, dtype, label, size=1.5, binary=False, grad=(0,), edge=False):
        logits = size * draw.normal(g, *shape, dtype=dtype)
        x = draw.uniform(g, 0, 1, *shape, dtype=dtype)
        return Case(label, (logits, (x > 0.5).to(dtype) if binary else x), grad=grad, edge=edge)

    sure = torch.tensor([[200.0, -200.0, 0.5], [-200.0, 200.0, 1.0], [150.0, -150.0, -1.0]])
    right, wrong = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 0]]), torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 1, 1]])
    return [
        one((2, 2), F64, "2 pictures of 2 pixels", grad=(0, 1)),
        one((5, 3), F32, "5 pictures of 3 pixels"),
        one((4, 4), F64, "as many pictures as pixels"),
        one((3, 1, 4, 5), F32, "pictures of shape (1, 4, 5)"),
        one((2, 3, 2, 2), F64, "colour pictures"),
        one((20, 64), F64, "black and white pictures of 64 pixels", binary=True),
        one((1, 6), F32, "a single picture"),
        one((7, 1), F64, "pictures of one pixel"),
        Case("logits of 200, and the picture agrees", (sure, right), grad=(0,), edge=True),
        Case("logits of 200, and the picture disagrees", (sure, wrong), grad=(0,), edge=True),
        one((3, 4), F64, "logits in the hundreds", size=300.0, edge=True),
    ]


BERNOULLI = Task(
    name="bernoulli_log_likelihood",
    exercise=EXERCISE,
    points=1.0,
    signature=("logits", "x"),
    outputs=("log_likelihood",),
    reference=_bernoulli_reference,
    cases=_bernoulli_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("negative",
            "The sign is turned: this is the loss, the negative log-likelihood.",
            _bernoulli_wrong(lambda a, x: -_bernoulli_terms(a, x))),
        Mistake("mean_over_pixels",
            "The pixels are averaged. Their log-likelihoods add up.",
            _bernoulli_wrong(reduce=lambda t: t.flatten(1).mean(1))),
        Mistake("summed_over_batch_too",
            "The sum runs over the batch as well. Return one value for each picture.",
            _bernoulli_wrong(reduce=torch.sum)),
        Mistake("mean_over_everything",
            "Everything is averaged. Sum over the pixels and return one value for each picture.",
            _bernoulli_wrong(reduce=torch.mean)),
        Mistake("mean_over_batch",
            "The values are averaged over the batch. Return one value for each picture.",
            _bernoulli_wrong(reduce=lambda t: _rows(t).mean())),
        Mistake("last_axis_only",
            "The sum runs over the last axis only. Sum over all axes but the first.",
            _bernoulli_wrong(reduce=lambda t: t.sum(-1))),
        Mistake("one_value_per_pixel",
            "This is one value for each pixel. Sum over all axes but the first.",
            _bernoulli_wrong(reduce=lambda t: t)),
        Mistake("unstable",
            "For large logits the probability is rounded to 0 or 1, and log gives -inf or NaN. Stay with the logits: "
            "log p is F.logsigmoid(logits), log(1 - p) is F.logsigmoid(-logits).",
            _bernoulli_wrong(_naive_terms)),
        Mistake("small_number_in_the_log",
            "A small number inside the log hides the rounding of p to 0 or 1: large logits get wrong values. Stay with "
            "the logits: F.logsigmoid.",
            _bernoulli_wrong(lambda a, x: _naive_terms(a, x, eps=1e-8))),
        Mistake("clamped_log",
            "Pictures that disagree with sure logits get at least -100: binary_cross_entropy clamps its logs. Use "
            "the version with logits.",
            _bernoulli_wrong(lambda a, x: -F.binary_cross_entropy(a.sigmoid(), x, reduction="none"))),
        Mistake("sigmoid_twice",
            "The sigmoid is applied twice: what you pass on as logits are probabilities already.",
            _bernoulli_wrong(lambda a, x: _bernoulli_terms(a.sigmoid(), x))),
        Mistake("logits_as_probabilities",
            "The logits are used as probabilities. A probability is sigmoid(logit).",
            _bernoulli_wrong(lambda a, x: x * a.log() + (1 - x) * (1 - a).log())),
        Mistake("ones_only",
            "Only the term x·log p is there. Add (1 - x)·log(1 - p).",
            _bernoulli_wrong(lambda a, x: x * F.logsigmoid(a))),
        Mistake("zeros_only",
            "Only the term (1 - x)·log(1 - p) is there. Add x·log p.",
            _bernoulli_wrong(lambda a, x: (1 - x) * F.logsigmoid(-a))),
        Mistake("swapped",
            "The two terms are swapped: log p belongs to x and log(1 - p) to 1 - x.",
            _bernoulli_wrong(lambda a, x: _bernoulli_terms(-a, x))),
        Mistake("rounded",
            "The pictures are rounded to black and white. Grey values count in proportion.",
            _bernoulli_wrong(lambda a, x: _bernoulli_terms(a, x.round()))),
        Mistake("squared_error",
            "This is a negative squared error. The likelihood is a Bernoulli's.",
            _bernoulli_wrong(lambda a, x: -(a.sigmoid() - x).square())),
    ),
    next_step="A logit of 0 costs log 2 for each pixel, whatever the picture: any decoder must do better than that.",
)  # fmt: skip

# --- elbo -----------------------------------------------------------------------------------------------------------


def _elbo(x, encode, decode, eps, beta, *, encoded=lambda m, v: (m, v), z=_draw_z, kl=_kl_reference,
          likelihood=_bernoulli_reference, join=lambda likelihood, kl, beta: likelihood - beta * kl,
          end=torch.mean):  # fmt: skip
    """The bound with one thing changed: the code, the divergence, the likelihood, how they are joined, the average."""
    mu, logvar = encoded(*encode(x))
    logits = decode(z(mu, logvar, eps))
    return end(join(likelihood(logits, x), kl(mu, logvar), beta))


def _elbo_reference(x, encode, decode, eps, beta):
    return _elbo(x, encode, decode, eps, beta)


def _elbo_wrong(**changed):
    return lambda *args: _elbo(*args, **changed)


def _sampled_kl(x, encode, decode, eps, beta):
    mu, logvar = encode(x)
    z = _draw_z(mu, logvar, eps)
    log_q = -0.5 * (eps.square() + logvar + LOG_2PI).sum(1)
    log_prior = -0.5 * (z.square() + LOG_2PI).sum(1)
    return (_bernoulli_reference(decode(z), x) - beta * (log_q - log_prior)).mean()


def _without_gradient(mu, logvar):
    return mu.detach(), logvar.detach()


def _elbo_cases(g):
    def one(b, shape, k, dtype, label, beta=1.0, size=1.0, tensor=False, edge=False):
        d = math.prod(shape)
        spread = 1 / math.sqrt(d)
        encode = {"weight": spread * draw.normal(g, 2 * k, d, dtype=dtype), "bias": draw.normal(g, 2 * k, dtype=dtype)}
        decode = {"weight": size * draw.normal(g, d, k, dtype=dtype), "bias": draw.normal(g, d, dtype=dtype)}
        x, eps = draw.uniform(g, 0, 1, b, *shape, dtype=dtype), draw.normal(g, b, k, dtype=dtype)
        beta = torch.tensor(beta, dtype=dtype) if tensor else beta
        decode["shape"] = list(shape)
        return Case(label, (x, Fixture("linear_encoder", encode), Fixture("linear_decoder", decode), eps, beta),
                    grad=(0, 3), edge=edge)  # fmt: skip

    return [
        one(2, (3,), 2, F64, "2 pictures of 3 pixels, codes in the plane", beta=draw.number(g, 1.5, 4)),
        one(5, (6,), 2, F32, "5 pictures of 6 pixels, beta = 1"),
        one(3, (1, 2, 3), 3, F64, "pictures of shape (1, 2, 3)", beta=draw.number(g, 0.2, 0.7)),
        one(16, (20,), 4, F32, "16 pictures of 20 pixels", beta=draw.number(g, 2, 6)),
        one(8, (12,), 5, F64, "beta as a tensor", beta=draw.number(g, 0.3, 3), tensor=True),
        one(4, (4,), 4, F64, "as many pictures as pixels as dimensions", beta=2.0),
        one(1, (5,), 2, F32, "a single picture", beta=0.5),
        one(6, (7,), 1, F32, "codes of one dimension", beta=1.5),
        one(4, (5,), 2, F64, "beta = 0: the likelihood alone", beta=0.0, edge=True),
        one(3, (4,), 2, F32, "a decoder with logits in the hundreds", beta=1.0, size=300.0, edge=True),
    ]


ELBO = Task(
    name="elbo",
    exercise=EXERCISE,
    points=2.0,
    signature=("x", "encode", "decode", "eps", "beta"),
    reference=_elbo_reference,
    cases=_elbo_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("loss",
            "The sign is turned: this is the loss. The bound itself is asked for.",
            _elbo_wrong(end=lambda v: -v.mean())),
        Mistake("kl_added",
            "The KL is added. It is a price: subtract it.",
            _elbo_wrong(join=lambda a, k, beta: a + beta * k)),
        Mistake("beta_forgotten",
            "The number beta is not used. It multiplies the KL.",
            _elbo_wrong(join=lambda a, k, beta: a - k)),
        Mistake("beta_on_the_likelihood",
            "The number beta multiplies the likelihood. It belongs to the KL.",
            _elbo_wrong(join=lambda a, k, beta: beta * a - k)),
        Mistake("beta_on_both",
            "The number beta multiplies both terms. It belongs to the KL alone.",
            _elbo_wrong(join=lambda a, k, beta: beta * (a - k))),
        Mistake("kl_left_out",
            "This is the likelihood alone. Subtract beta times the KL.",
            _elbo_wrong(join=lambda a, k, beta: a)),
        Mistake("sum_over_batch",
            "The bounds are summed over the batch. Return their mean.",
            _elbo_wrong(end=torch.sum)),
        Mistake("one_value_per_picture",
            "This is one bound for each picture. Return the mean over the batch.",
            _elbo_wrong(end=lambda v: v)),
        Mistake("pixels_averaged",
            "The likelihood is averaged over the pixels, which makes the KL far too important. Sum over the pixels.",
            _elbo_wrong(likelihood=lambda a, x: _bernoulli_terms(a, x).flatten(1).mean(1))),
        Mistake("kl_averaged",
            "The KL is averaged over the dimensions of the code. Sum over them.",
            _elbo_wrong(kl=lambda m, v: _kl_terms(m, v).mean(1))),
        Mistake("both_averaged",
            "The likelihood is averaged over pixels and the KL over dimensions. Sum both, then average over the batch.",
            _elbo_wrong(kl=lambda m, v: _kl_terms(m, v).mean(1),
                        likelihood=lambda a, x: _bernoulli_terms(a, x).flatten(1).mean(1))),
        Mistake("kl_summed_over_batch",
            "The KL is summed over the whole batch while the likelihood is averaged. Average both over the batch.",
            _elbo_wrong(kl=lambda m, v: _kl_terms(m, v).sum())),
        Mistake("kl_not_halved",
            "The KL lacks its factor 1/2.",
            _elbo_wrong(kl=lambda m, v: 2 * _kl_reference(m, v))),
        Mistake("kl_sampled",
            "The KL is estimated from the one code drawn. That is right on average only; its closed form is known.",
            _sampled_kl),
        Mistake("mean_decoded",
            "The mean mu is decoded. Decode z, which is drawn with eps.",
            _elbo_wrong(z=lambda m, v, e: m)),
        Mistake("noise_decoded",
            "The noise eps is decoded. Decode z = mu + exp(logvar / 2)·eps.",
            _elbo_wrong(z=lambda m, v, e: e)),
        Mistake("variance_for_std",
            "The code is drawn with the variance, exp(logvar), in place of the standard deviation, exp(logvar / 2).",
            _elbo_wrong(z=lambda m, v, e: m + v.exp() * e)),
        Mistake("logvar_as_std",
            "The code is drawn with logvar itself as the standard deviation. That is exp(logvar / 2).",
            _elbo_wrong(z=lambda m, v, e: m + v * e)),
        Mistake("outputs_of_encode_swapped",
            "The encoder returns mu first and logvar second. They are swapped here.",
            _elbo_wrong(encoded=lambda m, v: (v, m))),
        Mistake("sigmoid_twice",
            "The decoder returns logits. They go through a sigmoid before they are used as logits.",
            _elbo_wrong(likelihood=lambda a, x: _bernoulli_reference(a.sigmoid(), x))),
        Mistake("squared_error",
            "The likelihood is a negative squared error. Here it is a Bernoulli's.",
            _elbo_wrong(likelihood=lambda a, x: -_rows((a.sigmoid() - x).square()))),
        Mistake("unstable",
            "For large logits log(sigmoid(logits)) gives -inf or NaN. Stay with the logits, as in "
            "bernoulli_log_likelihood.",
            _elbo_wrong(likelihood=lambda a, x: _rows(_naive_terms(a, x)))),
        Mistake("code_detached",
            "The values are right, but no gradient flows from the likelihood back into the encoder: z is detached.",
            _elbo_wrong(z=lambda *a: _draw_z(*a).detach())),
        Mistake("encoder_detached",
            "The values are right, but the encoder gets no gradient at all: mu and logvar are detached.",
            _elbo_wrong(encoded=_without_gradient)),
    ),
    next_step="Raise beta in steps and watch which of the two terms pays for it.",
)  # fmt: skip

# --- iwae_bound -----------------------------------------------------------------------------------------------------


def _iwae_reference(log_w):
    return (torch.logsumexp(log_w, 0) - math.log(len(log_w))).mean()


def _iwae_cases(g):
    def one(k, b, dtype, label, level=-3.0, spread=1.5, grad=(0,), edge=False):
        return Case(label, (level + spread * draw.normal(g, k, b, dtype=dtype),), grad=grad, edge=edge)

    lost = draw.normal(g, 4, 3, dtype=F64) - 2
    lost[draw.integer(g, 0, 3), draw.integer(g, 0, 2)] = -math.inf
    return [
        one(2, 3, F64, "2 samples of 3 pictures"),
        one(5, 2, F32, "5 samples of 2 pictures"),
        one(50, 16, F64, "50 samples of 16 pictures"),
        one(10, 40, F32, "10 samples of 40 pictures"),
        one(4, 4, F64, "as many samples as pictures"),
        one(6, 1, F32, "a single picture"),
        one(1, 5, F64, "one sample: the ELBO", edge=True),
        one(5, 3, F32, "log weights near -900", level=-900.0, spread=5.0, edge=True),
        one(6, 4, F64, "log weights near 2000", level=2000.0, spread=5.0, edge=True),
        Case("a weight of 0", (lost,), edge=True),
    ]


def _naive_iwae(log_w, eps=0.0):
    return (log_w.exp().mean(0) + eps).log().mean()


IWAE_BOUND = Task(
    name="iwae_bound",
    exercise=EXERCISE,
    points=1.0,
    signature=("log_w",),
    outputs=("bound",),
    reference=_iwae_reference,
    cases=_iwae_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("elbo",
            "This is the mean of the logs, the ELBO. Take the log of the mean weight over the samples.",
            lambda w: w.mean()),
        Mistake("sum_of_weights",
            "The weights of the k samples are summed. Take their mean: subtract log k.",
            lambda w: torch.logsumexp(w, 0).mean()),
        Mistake("divided_by_k",
            "The log of the sum is divided by k. The sum is divided inside the log: subtract log k.",
            lambda w: torch.logsumexp(w, 0).mean() / len(w)),
        Mistake("log_k_added",
            "The number log k is added. Subtract it.",
            lambda w: torch.logsumexp(w, 0).mean() + math.log(len(w))),
        Mistake("log_of_the_batch_size",
            "The log of the batch size is subtracted. Subtract log k, k being the number of samples.",
            lambda w: torch.logsumexp(w, 0).mean() - math.log(w.shape[1])),
        Mistake("wrong_axis",
            "The log-sum runs over the batch. The samples of one picture are along axis 0.",
            lambda w: _iwae_reference(w.T)),
        Mistake("batch_inside_the_log",
            "Samples and batch are averaged together inside the log. Take the log for each picture, then average.",
            lambda w: torch.logsumexp(w.flatten(), 0) - math.log(w.numel())),
        Mistake("sum_over_batch",
            "The bounds are summed over the batch. Return their mean.",
            lambda w: (torch.logsumexp(w, 0) - math.log(len(w))).sum()),
        Mistake("one_value_per_picture",
            "This is one bound for each picture. Return the mean over the batch.",
            lambda w: torch.logsumexp(w, 0) - math.log(len(w))),
        Mistake("underflow",
            "The weights are exponentiated: exp underflows to 0 or overflows to inf. Stay in logs: torch.logsumexp.",
            _naive_iwae),
        Mistake("small_number_in_the_log",
            "A small number inside the log hides the underflow and gives wrong values. Stay in logs: torch.logsumexp.",
            lambda w: _naive_iwae(w, eps=1e-10)),
        Mistake("best_sample",
            "Only the largest weight is used. All k count.",
            lambda w: w.amax(0).mean()),
        Mistake("weighted_mean",
            "This is the mean of the log weights, weighted by the weights. Take the log of their plain mean.",
            lambda w: (torch.softmax(w, 0) * w).sum(0).mean()),
        Mistake("negative",
            "The sign is turned: this is the loss. The bound itself is asked for.",
            lambda w: -_iwae_reference(w)),
    ),
    next_step="Raise k from 1 to 5000 on one model: the bound rises towards log p(x), more and more slowly.",
)  # fmt: skip

# --- linear_gaussian_log_marginal -----------------------------------------------------------------------------------


def _covariance(weight, sigma):
    return weight @ weight.T + sigma**2 * torch.eye(len(weight), dtype=weight.dtype)


def _marginal(x, weight, bias, sigma, *, cov=_covariance, centre=lambda x, b: x - b, half=0.5, log_det=0.5,
              constant=None, end=lambda v: v):  # fmt: skip
    """The log density of N(bias, W Wᵀ + sigma² I) with one thing changed."""
    c, centred = cov(weight, sigma), centre(x, bias)
    square = (centred * torch.linalg.solve(c, centred.T).T).sum(1)
    constant = 0.5 * len(bias) * LOG_2PI if constant is None else constant(weight)
    return end(-half * square - log_det * torch.linalg.slogdet(c).logabsdet - constant)


def _marginal_reference(x, weight, bias, sigma):
    return _marginal(x, weight, bias, sigma)


def _marginal_wrong(**changed):
    return lambda *args: _marginal(*args, **changed)


def _linear_args(g, n, d, k, dtype, sigma=None, tensor=False, weight=None):
    sigma = draw.number(g, 0.4, 0.8) if sigma is None else sigma
    weight = draw.normal(g, d, k, dtype=F64) if weight is None else weight
    bias = draw.normal(g, d, dtype=F64)
    x = bias + draw.normal(g, n, k, dtype=F64) @ weight.T + sigma * draw.normal(g, n, d, dtype=F64)
    return (x.to(dtype), weight.to(dtype), bias.to(dtype), torch.tensor(sigma, dtype=dtype) if tensor else sigma)


def _linear_cases(g):
    def one(n, d, k, dtype, label, edge=False, **options):
        return Case(label, _linear_args(g, n, d, k, dtype, **options), grad=(0, 1, 2), edge=edge)

    column = draw.normal(g, 3, 1, dtype=F64)
    return [
        one(2, 2, 1, F64, "2 points in the plane, one latent"),
        one(5, 3, 2, F32, "5 points in 3 dimensions, 2 latents"),
        one(20, 6, 3, F64, "20 points in 6 dimensions, 3 latents", tensor=True),
        one(8, 5, 2, F32, "sigma as a tensor", tensor=True),
        one(3, 3, 3, F64, "as many points as dimensions as latents"),
        one(4, 2, 5, F64, "more latents than dimensions"),
        one(1, 4, 2, F64, "a single point"),
        one(6, 1, 1, F32, "one dimension, one latent"),
        one(4, 3, 2, F64, "sigma = 2", sigma=2.0),
        one(4, 3, 1, F64, "sigma = 0.01", sigma=0.01, edge=True),
        one(4, 3, 2, F64, "a decoder that ignores its latents", weight=torch.zeros(3, 2, dtype=F64), edge=True),
        one(4, 3, 2, F64, "two latents with one effect", weight=torch.cat([column, column], 1), edge=True),
    ]


LOG_MARGINAL = Task(
    name="linear_gaussian_log_marginal",
    exercise=EXERCISE,
    points=2.0,
    signature=("x", "weight", "bias", "sigma"),
    outputs=("log_p",),
    reference=_marginal_reference,
    cases=_linear_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("sigma_not_squared",
            "The number sigma is added to the diagonal. It is a standard deviation: add sigma².",
            _marginal_wrong(cov=lambda w, s: w @ w.T + s * torch.eye(len(w), dtype=w.dtype))),
        Mistake("noise_left_out",
            "The covariance lacks sigma²·I, and may be singular.",
            _marginal_wrong(cov=lambda w, s: w @ w.T + 0 * s)),
        Mistake("noise_in_every_entry",
            "The number sigma² is added to every entry of the matrix. It belongs on the diagonal: sigma²·I.",
            _marginal_wrong(cov=lambda w, s: w @ w.T + s**2)),
        Mistake("latents_left_out",
            "This is the density at z = 0, with covariance sigma²·I. Averaged over z it is W Wᵀ + sigma²·I.",
            _marginal_wrong(cov=lambda w, s: _covariance(0 * w, s))),
        Mistake("weight_transposed",
            "The matrix is Wᵀ W + sigma²·I, which has a row for each latent. Here it is W Wᵀ + sigma²·I, one for each "
            "dimension of x.",
            _marginal_wrong(cov=lambda w, s: _covariance(w.T, s))),
        Mistake("diagonal_only",
            "Only the variances are used. The latents make the dimensions of x correlated.",
            _marginal_wrong(cov=lambda w, s: torch.diag(_covariance(w, s).diagonal()))),
        Mistake("bias_forgotten",
            "The bias is not subtracted from x.",
            _marginal_wrong(centre=lambda x, b: x + 0 * b)),
        Mistake("bias_added",
            "The bias is added to x. Subtract it: it is the mean of x.",
            _marginal_wrong(centre=lambda x, b: x + b)),
        Mistake("no_log_det",
            "The term -1/2·log det of the covariance is missing.",
            _marginal_wrong(log_det=0.0)),
        Mistake("log_det_not_halved",
            "The log determinant is not halved.",
            _marginal_wrong(log_det=1.0)),
        Mistake("log_det_sign",
            "The log determinant is added. Subtract it: a wider Gaussian is lower.",
            _marginal_wrong(log_det=-0.5)),
        Mistake("no_constant",
            "The constant -d/2·log(2·pi) is missing.",
            _marginal_wrong(constant=lambda w: 0.0)),
        Mistake("constant_of_the_latents",
            "The constant counts the latents, k. It is -d/2·log(2·pi) with d the dimension of x.",
            _marginal_wrong(constant=lambda w: 0.5 * w.shape[1] * LOG_2PI)),
        Mistake("constant_of_one_dimension",
            "The constant is that of one dimension. It is -d/2·log(2·pi).",
            _marginal_wrong(constant=lambda w: 0.5 * LOG_2PI)),
        Mistake("half_missing_in_exponent",
            "The squared distance is not halved.",
            _marginal_wrong(half=1.0)),
        Mistake("negative",
            "The sign is turned: this is the negative log density.",
            lambda *a: -_marginal(*a)),
        Mistake("density_not_log",
            "This is the density. The function returns its logarithm.",
            _marginal_wrong(end=torch.exp)),
        Mistake("averaged",
            "The log densities are averaged over the batch. Return one for each point.",
            _marginal_wrong(end=torch.mean)),
        Mistake("summed",
            "The log densities are summed over the batch. Return one for each point.",
            _marginal_wrong(end=torch.sum)),
    ),
    next_step="Compare it with the ELBO of any posterior you like: the difference is the KL to the true posterior.",
)  # fmt: skip

# --- linear_gaussian_posterior --------------------------------------------------------------------------------------


def _posterior(x, weight, bias, sigma, *, precision=None, centre=lambda x, b: x - b, gain=None):
    """Mean and covariance of z given x with one thing changed: the precision, the centring, the factor of the mean."""
    eye = torch.eye(weight.shape[1], dtype=weight.dtype)
    matrix = (eye + weight.T @ weight / sigma**2) if precision is None else precision(weight, sigma, eye)
    cov = torch.linalg.inv(matrix)
    return centre(x, bias) @ weight @ cov * (1 / sigma**2 if gain is None else gain(sigma)), cov


def _posterior_reference(x, weight, bias, sigma):
    return _posterior(x, weight, bias, sigma)


def _posterior_wrong(change=lambda mean, cov: (mean, cov), **changed):
    return lambda *args: change(*_posterior(*args, **changed))


LINEAR_POSTERIOR = Task(
    name="linear_gaussian_posterior",
    exercise=EXERCISE,
    points=2.0,
    signature=("x", "weight", "bias", "sigma"),
    outputs=("mean", "cov"),
    reference=_posterior_reference,
    cases=_linear_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("sigma_not_squared",
            "The data's precision is 1/sigma². You divide by sigma.",
            _posterior_wrong(precision=lambda w, s, i: i + w.T @ w / s, gain=lambda s: 1 / s)),
        Mistake("sigma_squared_times",
            "The product Wᵀ W is multiplied by sigma². Divide: small noise makes the posterior narrow.",
            _posterior_wrong(precision=lambda w, s, i: i + w.T @ w * s**2)),
        Mistake("prior_forgotten",
            "The prior's precision, the identity, is missing: this is least squares, and singular when two latents do "
            "the same.",
            _posterior_wrong(precision=lambda w, s, i: w.T @ w / s**2)),
        Mistake("noise_forgotten",
            "The noise is left out, as if sigma were 1.",
            _posterior_wrong(precision=lambda w, s, i: i + w.T @ w, gain=lambda s: 1.0)),
        Mistake("cov_without_sigma",
            "This is the inverse of Wᵀ W + sigma²·I. The covariance is sigma² times that.",
            lambda x, w, b, s: (_posterior(x, w, b, s)[0], _posterior(x, w, b, s)[1] / s**2)),
        Mistake("mean_without_sigma",
            "The mean lacks its factor 1/sigma².",
            _posterior_wrong(gain=lambda s: 1.0)),
        Mistake("mean_divided_by_sigma",
            "The mean is divided by sigma. Divide by sigma².",
            _posterior_wrong(gain=lambda s: 1 / s)),
        Mistake("precision_returned",
            "This is the precision matrix. The covariance is its inverse.",
            _posterior_wrong(lambda m, c: (m, torch.linalg.inv(c)))),
        Mistake("bias_forgotten",
            "The bias is not subtracted from x.",
            _posterior_wrong(centre=lambda x, b: x + 0 * b)),
        Mistake("bias_added",
            "The bias is added to x. Subtract it.",
            _posterior_wrong(centre=lambda x, b: x + b)),
        Mistake("mean_not_multiplied_by_cov",
            "The mean is Wᵀ(x - b)/sigma² without the covariance in front.",
            lambda x, w, b, s: ((x - b) @ w / s**2, _posterior(x, w, b, s)[1])),
        Mistake("pseudo_inverse",
            "The mean is the pseudo-inverse of W applied to x - b, as if there were neither noise nor prior.",
            lambda x, w, b, s: ((x - b) @ torch.linalg.pinv(w).T, _posterior(x, w, b, s)[1])),
        Mistake("diagonal_only",
            "The covariances between latents are set to 0. Keep the whole matrix.",
            _posterior_wrong(lambda m, c: (m, torch.diag(c.diagonal())))),
        Mistake("variances_only",
            "This is a vector of variances. The covariance is a (k, k) matrix.",
            _posterior_wrong(lambda m, c: (m, c.diagonal()))),
        Mistake("one_cov_per_point",
            "The covariance is repeated for each point. It is the same for all: return one (k, k) matrix.",
            _posterior_wrong(lambda m, c: (m, c.expand(len(m), *c.shape)))),
        Mistake("mean_transposed",
            "The mean is (k, n). Points come first: (n, k).",
            _posterior_wrong(lambda m, c: (m.T, c))),
        Mistake("swapped_outputs",
            "The covariance comes first. Return mean, cov.",
            _posterior_wrong(lambda m, c: (c, m))),
        Mistake("prior_covariance",
            "The covariance is the prior's. Data make it narrower.",
            _posterior_wrong(lambda m, c: (m, torch.eye(len(c), dtype=c.dtype) + 0 * c))),
    ),
    next_step="Let sigma go to 0 and to infinity: where do mean and covariance go?",
)  # fmt: skip

TASKS = (REPARAMETERIZE, GAUSSIAN_KL, BERNOULLI, ELBO, IWAE_BOUND, LOG_MARGINAL, LINEAR_POSTERIOR)
