"""The contracts are tests, wherever they lie: a failed assertion shows its values."""

import pytest

pytest.register_assert_rewrite("lightning.app.testing")
