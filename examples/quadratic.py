"""A quadratic whose global hypergradient is known in closed form: local against glocal against truth, without Ray."""

import torch
from torch import Tensor, nn

from ray_glocal.hypergradient import Hyperparameter, Problem, adjoint_trajectory, record_window
from ray_glocal.koopman import forecaster

CURVATURES = torch.tensor([0.05, 0.3, 1.0], dtype=torch.float64)
LR, PULL, WINDOW, STEPS = 0.5, 0.05, 40, 400


class Point(nn.Module):
    """Three parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.ones(3, dtype=torch.float64))


def train_loss(point: Point, _batch: None, hyper: dict[str, Tensor]) -> Tensor:
    return 0.5 * (CURVATURES * point.place**2).sum() - hyper["pull"] * point.place.sum()


def val_loss(point: Point, _batch: None) -> Tensor:
    return 0.5 * ((point.place - 0.2) ** 2).sum()


def truth() -> float:
    """After n steps place = c^n (1 - pull / a) + pull / a with c = 1 - lr a; differentiate val_loss in the pull."""
    left = (1 - LR * CURVATURES) ** STEPS
    place = left * (1 - PULL / CURVATURES) + PULL / CURVATURES
    return float(((place - 0.2) * (1 - left) / CURVATURES).sum())


def main() -> None:
    point = Point()
    sgd = torch.optim.SGD(point.parameters(), lr=LR)
    problem = Problem(point, sgd, train_loss, val_loss, [Hyperparameter("pull", PULL)])
    window = record_window(problem, [None] * WINDOW, [None], problem.start_values())
    series = adjoint_trajectory(problem, window).derivatives.numpy()
    print(f"truth       h_{STEPS} {truth():9.5f}")
    print(f"local       h_{WINDOW}  {series[-1, 0]:9.5f}, off by {abs(series[-1, 0] / truth() - 1):.2%}")
    for name in ("mean", "paper", "increment", "affine", "ensemble"):
        glocal = float(forecaster(name).forecast(series, STEPS - WINDOW).mean[0])
        print(f"{name:11} h_{STEPS} {glocal:9.5f}, off by {abs(glocal / truth() - 1):.2%}")


if __name__ == "__main__":
    main()
