"""Hugging Face's `Trainer`: its loop, callbacks and logs as ever, and `session.step` in `training_step`.

A small vision transformer that is built from its configuration, so nothing is downloaded. The Trainer's optimizer, its
schedule (`lr_scheduler_type`, `warmup_steps`) and `max_grad_norm` are handed to the session, which steps them.
Not supported: `gradient_accumulation_steps` above 1 (the session's own is `accumulate=`, on lists of batches),
`fp16` and `bf16` (write `torch.autocast` into the loss), DeepSpeed, FSDP, and `resume_from_checkpoint`.
"""

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

import digits
from ray_glocal import Clipping, GlocalSession, Hyperparameter, Settings

BY_STEPS = Settings(duty_cycle=0.3)  # of so short a run the clock, the default, says too little
HYPER = (
    Hyperparameter("lr", 1e-3, 1e-5, 1e-1, "log"),
    Hyperparameter("beta1", 0.9, 0.0, 0.99, "logit"),
    Hyperparameter("weight_decay", 1e-3, 1e-6, 1.0, "log"),
)


def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).loss


class Still:
    """What the Trainer steps where the session steps the thing itself; all else is the thing's own."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def step(self) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)


class GlocalTrainer(Trainer):
    """A Trainer that adapts hyperparameters as it trains.

    Args:
        hyper: What to adapt.
        told: What `Trainer` takes.
    """

    def __init__(self, *, hyper: tuple[Hyperparameter, ...], **told: Any) -> None:
        super().__init__(**told)
        if self.args.gradient_accumulation_steps > 1 or self.args.fp16 or self.args.bf16:
            raise ValueError("`args` must leave out gradient_accumulation_steps, fp16 and bf16; see the module's text.")
        self._hyper, self.session = hyper, None
        self.add_callback(Reports(self))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the optimizer itself, not of accelerate's wrapper around it."""
        held = self.optimizer if optimizer is None else optimizer
        return super().create_scheduler(num_training_steps, getattr(held, "optimizer", held))

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        if self.session is None:
            self._begin(model)
        return self.session.step(self._prepare_inputs(inputs))

    def evaluate(self, *arguments: Any, **told: Any) -> dict[str, float]:
        """The averaged weights, which are what a session reports."""
        if self.session is None:
            return super().evaluate(*arguments, **told)
        with self.session.averaged_weights():
            return super().evaluate(*arguments, **told)

    def _begin(self, model: nn.Module) -> None:
        """Build the session on what the Trainer has made by its first step, and take its steps from it."""
        norm = self.args.max_grad_norm
        optimizer, schedule = self.optimizer.optimizer, self.lr_scheduler
        self.session = GlocalSession(
            model,
            optimizer,
            loss,
            loss,
            val_batches=[self._prepare_inputs(batch) for batch in self.get_eval_dataloader()],
            hyper=self._hyper,
            total_steps=self.state.max_steps,
            lr_scheduler=schedule,
            settings=BY_STEPS,
            clipping=Clipping(norm=norm) if norm else None,
        )
        self.optimizer, self.lr_scheduler = Still(optimizer), Still(schedule)


class Reports(TrainerCallback):
    """Logs what the session has to tell; under Tune it is `tune.report(metrics, checkpoint=session.checkpoint())`."""

    def __init__(self, trainer: GlocalTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        session = self._trainer.session
        if session.at_report:
            self._trainer.log({name: value for name, value in session.metrics().items() if name != "warning"})


class Images(torch.utils.data.Dataset):
    """Images and labels by the names that the model knows."""

    def __init__(self, data: digits.Batch) -> None:
        self.images, self.labels = data

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[index].reshape(1, 8, 8), "labels": self.labels[index]}


def main(epochs: int = 9) -> GlocalTrainer:
    training, validation, test = digits.split()
    torch.manual_seed(0)
    shape = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    model = ViTForImageClassification(ViTConfig(**shape, **sizes))
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            dataloader_drop_last=True,
            learning_rate=1e-3,
            weight_decay=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=30,
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
        )
        data = {"train_dataset": Images(training), "eval_dataset": Images(validation)}
        trainer = GlocalTrainer(hyper=HYPER, model=model, args=options, **data)
        trainer.train()
        told = trainer.session.metrics()
        print(f"{told['step']} steps, val_loss {told['val_loss']:.3f}, lr 0.001 -> {told['hyper/lr']:.3g}")
        print(f"test loss {trainer.evaluate(Images(test))['eval_loss']:.3f}")
    return trainer


if __name__ == "__main__":
    main()
