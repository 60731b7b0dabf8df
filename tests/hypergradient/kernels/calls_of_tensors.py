"""Functions of numbers, matrices, indices, spectra and draws, each in a small call."""

from functools import partial

import torch
from torch import Tensor

from .arguments import Call, above_one, definite, elementwise, normal, positive, symmetric, within


def pointwise() -> dict[str, Call]:
    real = "abs atan asinh cos cosh deg2rad erf erfc exp exp2 expm1 frac neg sigmoid sin sinc sinh square tanh trunc"
    pairs = "add atan2 copysign fmax fmin hypot logaddexp logaddexp2 maximum minimum mul sub rsub"
    above = "digamma lgamma log log10 log1p log2 reciprocal rsqrt sqrt"
    special = "entr erfcx gammaln i0 i0e i1 i1e log_ndtr ndtr"
    return {
        **elementwise(real, normal),
        **elementwise(above, positive),
        **elementwise("acos asin atanh erfinv logit tan", within),
        **elementwise("acosh", above_one),
        **{f"special.{name}": call for name, call in elementwise(special, positive, torch.special).items()},
        **{name: (getattr(torch, name), (normal(3, 4), normal(3, 4))) for name in pairs.split()},
        "special.ndtri": (torch.special.ndtri, (within(3, 4),)),
        "special.multigammaln": (lambda x: torch.special.multigammaln(x, 2), (above_one(3, 4),)),
        "special.polygamma": (partial(torch.special.polygamma, 1), (positive(3, 4),)),
        "special.xlog1py": (torch.special.xlog1py, (normal(3, 4), positive(3, 4))),
        "addcdiv": (partial(torch.addcdiv, value=0.3), (normal(3, 4), normal(3, 4), positive(3, 4))),
        "addcmul": (partial(torch.addcmul, value=0.3), (normal(3, 4), normal(3, 4), normal(3, 4))),
        "clamp": (lambda x: torch.clamp(x, -0.5, 0.8), (normal(3, 4),)),
        "clamp, by tensors": (torch.clamp, (normal(3, 4), -positive(3, 4), positive(3, 4))),
        "complex": (lambda a, b: (torch.complex(a, b) * torch.complex(b, a)).abs(), (normal(3, 4), normal(3, 4))),
        "polar": (lambda a, b: torch.polar(a, b) ** 2, (positive(3, 4), normal(3, 4))),
        "div": (torch.div, (normal(3, 4), positive(3, 4))),
        "float_power": (torch.float_power, (positive(3, 4), normal(3, 4))),
        "fmod": (torch.fmod, (normal(3, 4), above_one(3, 4))),
        "lerp": (torch.lerp, (normal(3, 4), normal(3, 4), within(3, 4))),
        "nan_to_num": (torch.nan_to_num, (normal(3, 4),)),
        "pow": (torch.pow, (positive(3, 4), normal(3, 4))),
        "pow, a cube": (lambda x: x**3, (normal(3, 4),)),
        "remainder": (torch.remainder, (normal(3, 4), above_one(3, 4))),
        "where": (lambda a, b: torch.where(a > b, a * b, a - b), (normal(3, 4), normal(3, 4))),
        "xlogy": (torch.xlogy, (normal(3, 4), positive(3, 4))),
    }


def reductions() -> dict[str, Call]:
    x = (normal(3, 4),)
    plain = "amax amin cumprod cumsum logcumsumexp logsumexp max mean median min nanmean nansum prod std sum var"
    return {
        **{name: (partial(_along, name), x) for name in plain.split()},
        "aminmax": (lambda x: torch.stack(list(torch.aminmax(x, dim=1))), x),
        "corrcoef": (torch.corrcoef, x),
        "cov": (torch.cov, x),
        "cummax": (lambda x: torch.cummax(x, 1).values, x),
        "cumulative_trapezoid": (torch.cumulative_trapezoid, x),
        "diff": (torch.diff, x),
        "kthvalue": (lambda x: torch.kthvalue(x, 2).values, x),
        "max, of all": (torch.max, x),
        "mean of squares, by norm": (torch.norm, x),
        "prod, with zeros": (lambda x: torch.prod(x * torch.tensor([0.0, 1, 1, 1]).double(), 1), x),
        "prod, of all": (torch.prod, x),
        "quantile": (lambda x: torch.quantile(x, 0.3, 1), x),
        "sort": (lambda x: torch.sort(x, 1).values, x),
        "std_mean": (lambda x: torch.stack(torch.std_mean(x, 1)), x),
        "topk": (lambda x: torch.topk(x, 2, 1).values, x),
        "trapezoid": (torch.trapezoid, x),
        "var_mean": (lambda x: torch.stack(torch.var_mean(x, 1)), x),
        "masked.softmax": (lambda x: torch.masked.softmax(x, 1, mask=torch.eye(3, 4) == 0), x),
    }


def _along(name: str, x: Tensor) -> Tensor:
    found = getattr(torch, name)(x, 1)
    return found if isinstance(found, Tensor) else found.values


def matrices() -> dict[str, Call]:
    a, b, square = normal(4, 3), normal(3, 2), normal(3, 3)
    linalg, tall = torch.linalg, (normal(4, 3),)
    of = {
        "cholesky": lambda a: linalg.cholesky(definite(a)),
        "cholesky, upper": lambda a: linalg.cholesky(definite(a), upper=True),
        "cholesky_ex": lambda a: linalg.cholesky_ex(definite(a)).L,
        "cholesky_inverse": lambda a: torch.cholesky_inverse(linalg.cholesky(definite(a))),
        "cond": linalg.cond,
        "det": linalg.det,
        "eig": lambda a: linalg.eig(a).eigenvectors.abs(),
        "eigh": lambda a: linalg.eigh(symmetric(a)).eigenvectors.abs(),
        "eigvals": lambda a: linalg.eigvals(a).abs(),
        "eigvalsh": lambda a: linalg.eigvalsh(symmetric(a)),
        "inv": linalg.inv,
        "inv_ex": lambda a: linalg.inv_ex(a).inverse,
        "logdet": lambda a: torch.logdet(definite(a)),
        "lu": lambda a: torch.cat(list(linalg.lu(a))[1:]),
        "lu_factor": lambda a: linalg.lu_factor(a).LU,
        "matrix_exp": linalg.matrix_exp,
        "matrix_norm, nuclear": lambda a: linalg.matrix_norm(a, "nuc"),
        "matrix_norm, spectral": lambda a: linalg.matrix_norm(a, 2),
        "matrix_power": lambda a: linalg.matrix_power(a, -3),
        "pinv, hermitian": lambda a: linalg.pinv(definite(a), hermitian=True),
        "slogdet": lambda a: linalg.slogdet(a).logabsdet,
        "trace": torch.trace,
        "tril": torch.tril,
    }
    return {
        **{name: (call, (square,)) for name, call in of.items()},
        "addmm": (partial(torch.addmm, alpha=0.5), (normal(4, 2), a, b)),
        "baddbmm": (torch.baddbmm, (normal(2, 4, 2), normal(2, 4, 3), normal(2, 3, 2))),
        "bmm": (torch.bmm, (normal(2, 4, 3), normal(2, 3, 2))),
        "cross": (linalg.cross, (normal(4, 3), normal(4, 3))),
        "dot": (torch.dot, (normal(3), normal(3))),
        "einsum": (partial(torch.einsum, "ij,jk,lk->il"), (a, b, normal(5, 2))),
        "householder_product": (linalg.householder_product, (a, positive(3))),
        "kron": (torch.kron, (a, b)),
        "lobpcg": (lambda a: torch.lobpcg(definite(a), k=1, niter=200, tol=1e-14)[0], (normal(6, 6),)),
        "lstsq": (lambda a, b: linalg.lstsq(a, b).solution, (a, normal(4, 2))),
        "matmul": (torch.matmul, (normal(2, 4, 3), b)),
        "matrix_norm": (linalg.matrix_norm, tall),
        "multi_dot": (lambda *m: linalg.multi_dot(m), (a, b, normal(2, 5))),
        "outer": (torch.outer, (normal(3), normal(4))),
        "pinv": (linalg.pinv, tall),
        "qr": (lambda a: torch.cat(list(linalg.qr(a))), tall),
        "solve": (linalg.solve, (square, b)),
        "solve, by Cholesky": (lambda a, b: torch.cholesky_solve(b, linalg.cholesky(definite(a))), (square, b)),
        "solve, by LU": (lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b), (square, b)),
        "solve_triangular": (lambda a, b: linalg.solve_triangular(a.triu(), b, upper=True), (square, b)),
        "svd": (lambda a: torch.cat([s.abs() for s in linalg.svd(a, full_matrices=False)[::2]]), tall),
        "svdvals": (linalg.svdvals, tall),
        "svd_lowrank": (lambda a: torch.svd_lowrank(a, 2)[1], tall),
        "tensordot": (torch.tensordot, (normal(3, 4), normal(3, 4))),
        "tensorinv": (partial(linalg.tensorinv, ind=1), (normal(4, 2, 2),)),
        "tensorsolve": (linalg.tensorsolve, (normal(2, 2, 4), normal(2, 2))),
        "vander": (linalg.vander, (normal(4),)),
        "vecdot": (linalg.vecdot, (normal(3, 4), normal(3, 4))),
        "vector_norm": (linalg.vector_norm, tall),
        "vector_norm, 3": (lambda a: linalg.vector_norm(a, 3, 1), tall),
        "vector_norm, infinite": (lambda a: linalg.vector_norm(a, float("inf"), 1), tall),
        "sparse.mm": (lambda a: torch.sparse.mm(torch.eye(4).double().to_sparse(), a), tall),
    }


def indexing() -> dict[str, Call]:
    x, y, rows = normal(3, 4), normal(2, 4), torch.tensor([0, 2])
    places = torch.tensor([[0, 1, 0, 1], [2, 2, 1, 0]])
    mask, lengths = torch.eye(3, 4) > 0, torch.tensor([1, 2])
    reduced = ("sum", "prod", "mean", "amax", "amin")
    return {
        "as_strided": (lambda x: torch.as_strided(x * 1, (2, 2), (1, 2)), (x,)),
        "as_strided_scatter": (lambda x, y: torch.as_strided_scatter(x, y, (2, 2), (1, 2), 1), (x, normal(2, 2))),
        "cat": (lambda x, y: torch.cat([x, y]), (x, y)),
        "diag_embed": (torch.diag_embed, (x,)),
        "diagonal_scatter": (torch.diagonal_scatter, (x, normal(3))),
        "flip": (lambda x: torch.flip(x, [1]), (x,)),
        "gather": (lambda x: torch.gather(x, 0, places), (x,)),
        "getitem": (lambda x: x[rows[:, None], places[:, :3]], (x,)),
        "index_add": (lambda x, y: torch.index_add(x, 0, rows, y, alpha=0.5), (x, y)),
        "index_copy": (lambda x, y: torch.index_copy(x, 0, rows, y), (x, y)),
        "index_fill": (lambda x, y: torch.index_fill(x, 0, rows, y), (x, normal())),
        "index_put": (lambda x, y: torch.index_put(x, (rows,), y, accumulate=True), (x, y)),
        "index_select": (lambda x: torch.index_select(x, 0, torch.tensor([0, 0, 1])), (x,)),
        "masked_fill": (lambda x, y: torch.masked_fill(x, mask, y), (x, normal())),
        "masked_scatter": (lambda x, y: torch.masked_scatter(x, mask, y), (x, normal(4))),
        "masked_select": (lambda x: torch.masked_select(x, mask), (x,)),
        "permute": (lambda x: torch.permute(x, (1, 0)), (x,)),
        "put": (lambda x, y: torch.put(x, torch.tensor([3, 5]), y), (x, normal(2))),
        "repeat": (lambda x: x.repeat(2, 1), (x,)),
        "repeat_interleave": (lambda x: torch.repeat_interleave(x, 2, 1), (x,)),
        "roll": (lambda x: torch.roll(x, 1, 1), (x,)),
        "scatter": (lambda x, y: torch.scatter(x, 0, places, y), (x, y)),
        "scatter_add": (lambda x, y: torch.scatter_add(x, 0, places, y), (x, y)),
        **{
            f"scatter_reduce, {kind}": (lambda x, y, kind=kind: torch.scatter_reduce(x, 0, places, y, kind), (x, y))
            for kind in reduced
        },
        **{
            f"index_reduce, {kind}": (lambda x, y, kind=kind: torch.index_reduce(x, 0, rows, y, kind), (x, y))
            for kind in reduced[1:]
        },
        **{
            f"segment_reduce, {kind}": (lambda y, kind=kind: torch.segment_reduce(y, kind, lengths=lengths), (x,))
            for kind in ("sum", "mean", "max")
        },
        "select_scatter": (lambda x, y: torch.select_scatter(x, y, 0, 1), (x, normal(4))),
        "slice_scatter": (lambda x, y: torch.slice_scatter(x, y, 0, 0, 2), (x, y)),
        "stack": (lambda x: torch.stack([x, x * x]), (x,)),
        "take": (lambda x: torch.take(x, places), (x,)),
        "take_along_dim": (lambda x: torch.take_along_dim(x, places, 0), (x,)),
        "unfold, of a tensor": (lambda x: x.unfold(1, 2, 1), (x,)),
        "written in place": (_written, (x, y)),
    }


def _written(x: Tensor, y: Tensor) -> Tensor:
    out = x * 1
    out[:2] = y * x[1:]
    return out.mul_(x).add_(1).cumsum_(0)


def fourier() -> dict[str, Call]:
    x, fft = normal(3, 4), torch.fft

    def real(name: str) -> Call:
        return lambda x: torch.view_as_real(getattr(fft, name)(x).resolve_conj()), (x,)

    window = torch.hann_window(4, dtype=torch.float64)
    return {
        **{name: real(name) for name in ["fft", "fft2", "fftn", "ifft", "ihfft", "rfft", "rfft2", "rfftn"]},
        **elementwise("hfft irfft irfft2 irfftn", normal, fft),
        "istft": (lambda x: torch.istft(torch.stft(x, 4, window=window, return_complex=True), 4, window=window), (x,)),
        "stft": (lambda x: torch.stft(x, 4, window=window, return_complex=True).abs(), (x,)),
    }


def draws() -> dict[str, Call]:
    """Samples as functions of a distribution's parameters, for one state of the generator."""
    made = torch.distributions
    loc, scale = normal(4), positive(4)
    located = "Cauchy Gumbel Laplace LogNormal Normal"
    return {
        **{name: (partial(_drawn, name), (loc, scale)) for name in located.split()},
        "Beta": (lambda a, b: made.Beta(a, b).rsample(), (scale, positive(4))),
        "Dirichlet": (lambda a: made.Dirichlet(a).rsample(), (scale,)),
        "Exponential": (lambda a: made.Exponential(a).rsample(), (scale,)),
        "Gamma, of a rate": (lambda b: made.Gamma(torch.full_like(b, 2), b).rsample(), (scale,)),
        "Gamma, of a shape": (lambda a: made.Gamma(a, 1.0).rsample(), (scale,)),
        "Kumaraswamy": (lambda a, b: made.Kumaraswamy(a, b).rsample(), (scale, positive(4))),
        "MultivariateNormal": (
            lambda m, a: made.MultivariateNormal(m, scale_tril=torch.linalg.cholesky(definite(a))).rsample(),
            (normal(3), normal(3, 3)),
        ),
        "RelaxedOneHotCategorical": (lambda a: made.RelaxedOneHotCategorical(0.7, logits=a).rsample(), (loc,)),
        "StudentT, of a scale": (lambda b: made.StudentT(3.0, 0.0, b).rsample(), (scale,)),
        "Weibull": (lambda a, b: made.Weibull(a, b).rsample(), (scale, positive(4))),
        "log_prob, Beta": (lambda a, b: made.Beta(a, b).log_prob(torch.tensor(0.3).double()), (scale, positive(4))),
        "log_prob, Normal": (lambda a, b: made.Normal(a, b).log_prob(torch.tensor(0.3).double()), (loc, scale)),
        "log_prob, StudentT": (lambda a: made.StudentT(a).log_prob(torch.tensor(0.3).double()), (above_one(4),)),
        "kl_divergence": (
            lambda a, b: made.kl_divergence(made.Gamma(a, b), made.Gamma(b, a)),
            (scale, positive(4)),
        ),
        "entropy": (lambda a: made.Categorical(logits=a).entropy(), (loc,)),
    }


def _drawn(name: str, loc: Tensor, scale: Tensor) -> Tensor:
    return getattr(torch.distributions, name)(loc, scale).rsample()
