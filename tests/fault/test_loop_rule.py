# SPDX-License-Identifier: Apache-2.0
"""The loop rule under its stated load: a large Table, server-side applies of a large object and
reconnecting clients over TLS at the same time. By default with smaller numbers and against the
processor time that the server's callbacks used, with a margin for neighbours; DROVER_LONG=1 has
the whole load, the rule itself, and times a probe."""
import os

import rule_load
from rule_load import Target
from test_front import Front

LONG = os.environ.get("DROVER_LONG") == "1"
ROWS, LARGE, APPLIES, CONNECTIONS = (100000, 3 << 20, 20, 2000) if LONG else (3000, 3 << 20, 3, 200)


def test_no_callback_is_long(tmp_path):
    f = Front(tmp_path / "data", True)
    try:
        target = Target(f.port, f.token)
        rule_load.fill(target, ROWS)
        before = target.metrics()
        probe = rule_load.all_at_once(target, 2 if LONG else 4, LARGE, APPLIES, CONNECTIONS)
        after = target.metrics()
        print({k: v for k, v in after.items() if "long" in k}, len(probe.ms),
              f"p50 {probe.percentile(.5):.2f} p99 {probe.percentile(.99):.2f} ms")
        long = {k: v for k, v in after.items() if "long_callback" in k}
        if LONG:
            count = "drover_loop_long_callbacks_total"
            assert after[count] - before[count] == 0, long
            assert probe.percentile(.99) < 20
        # Neighbours take caches and half of a core away: up to three times the rule.
        assert not [k for k, v in long.items() if "max" in k and v > 0.006], long
    finally:
        f.stop()
