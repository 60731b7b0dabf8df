import pytest
from hooks import Tune

from ray_glocal.tune import GlocalScheduler


@pytest.fixture
def begin(tmp_path):
    def begin(folder=tmp_path, **options):
        options = {"grace_period": 1, **options}
        told = options.pop("metric", "val_loss"), options.pop("mode", "min")
        return Tune(GlocalScheduler(*told, **options), folder)

    return begin
