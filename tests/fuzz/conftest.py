"""How much is tried: a little in every test run, much by ``make fuzz``."""

from hypothesis import HealthCheck, settings

COMMON = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
}
settings.register_profile("short", max_examples=60, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=3000, **COMMON)
settings.load_profile("short")
