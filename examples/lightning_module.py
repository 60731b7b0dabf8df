"""PyTorch Lightning: its manual optimization, and `session.step` in `training_step`, in a few seconds.

Lightning leads loops, devices, loggers and callbacks as ever; the session takes the inner steps. What a Trainer would
do to a step itself is therefore the session's: `gradient_clip_val` is `clipping=`, `accumulate_grad_batches` is
`accumulate=`, mixed precision is `torch.autocast` in the losses, a learning-rate scheduler is `lr_scheduler=`, averaged
weights come by themselves. `max_steps` counts the steps that Lightning takes, which are none: say `max_epochs`. A run
that is resumed has the session's state by `restore`; its batches Lightning draws anew.
"""

import logging

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import digits
from ray_glocal import GlocalSession, Hyperparameter, Settings

BY_STEPS = Settings(duty_cycle=0.3)  # of so short a run the clock, the default, says too little
HYPER = (
    Hyperparameter("lr", 1e-3, 1e-4, 1.0, "log"),
    Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"),
    Hyperparameter("weight_decay", 1e-4, 1e-6, 0.1, "log"),
)


class Digits(lightning.LightningModule):
    """A module whose training step is the session's."""

    def __init__(self, network: nn.Module, val_batches: DataLoader) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.val_batches = network, val_batches

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def on_train_start(self) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        steps = self.trainer.num_training_batches * self.trainer.max_epochs
        self.session = GlocalSession(
            self.network,  # not `self`, which holds the trainer and all that hangs on it
            optimizer,
            digits.loss,
            digits.loss,
            val_batches=[[each.to(self.device) for each in batch] for batch in self.val_batches],
            hyper=HYPER,
            total_steps=steps,
            lr_scheduler=digits.cosine(steps, optimizer),
            settings=BY_STEPS,
        )  # under Tune: `self.session.restore(tune.get_checkpoint())`

    def training_step(self, batch: list[Tensor], index: int) -> None:
        self.session.step(batch)
        self.log("step", float(self.session.step_count))  # the x axis of Lightning's loggers
        if self.session.at_report:  # under Tune: `tune.report(metrics, checkpoint=self.session.checkpoint())`
            metrics = self.session.metrics()
            self.log_dict({name: float(value) for name, value in metrics.items() if name not in ("step", "warning")})

    def on_validation_epoch_start(self) -> None:
        self.losses: list[float] = []

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        images, labels = batch
        self.losses.append(float(F.cross_entropy(self.network(images), labels)))

    def on_validation_epoch_end(self) -> None:
        self.log("loss_of_the_weights_that_train", sum(self.losses) / len(self.losses))


def main(epochs: int = 10) -> Digits:
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)
    training, validation, test = digits.split()
    held_out = DataLoader(TensorDataset(*validation), batch_size=100)
    module = Digits(digits.network(64, seed=0), held_out)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    generator = torch.Generator().manual_seed(0)
    batches = DataLoader(TensorDataset(*training), batch_size=32, shuffle=True, drop_last=True, generator=generator)
    trainer.fit(module, batches, held_out)
    accuracy = module.session.evaluate(lambda model: digits.accuracy(model, test))
    told = module.session.metrics()
    print(f"{told['step']} steps, val_loss {told['val_loss']:.3f}, lr 0.001 -> {told['hyper/lr']:.3g}")
    print(f"test accuracy {accuracy:.3f}")
    return module


if __name__ == "__main__":
    main()
