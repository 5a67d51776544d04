/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a loop until the condition holds; the limit is for a machine under load. The test
 * fails when it is passed. */
#ifndef TESTS_TURN_UNTIL_H
#define TESTS_TURN_UNTIL_H

#include "base/clock.h"
#include "io/loop.h"

#define TURN_UNTIL(loop, limit_ms, cond)                                                 \
    do {                                                                                 \
        int64_t until_ = clock_now_ms() + (limit_ms);                                    \
        while (!(cond)) {                                                                \
            if (clock_now_ms() > until_)                                                 \
                fail_msg("never came true: %s", #cond);                                  \
            loop_turn((loop), 50);                                                       \
        }                                                                                \
    } while (0)

#endif
