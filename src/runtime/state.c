/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - see state.h. */
#include "runtime/state.h"

#include "base/mem.h"

#define TO(state) (1u << BX_BOX_##state)

static const struct {
    const char *name;
    bool active;
    unsigned to;
} states[] = {
    [0] = {"unknown", false, 0},
    [BX_BOX_CONFIGURED] = {"configured", false, TO(RUNNING)},
    [BX_BOX_RUNNING] = {"running", true, TO(PAUSED) | TO(STOPPING) | TO(STOPPED) | TO(FAILED)},
    [BX_BOX_PAUSED] = {"paused", true, TO(RUNNING) | TO(STOPPING) | TO(STOPPED) | TO(FAILED)},
    [BX_BOX_STOPPING] = {"stopping", true, TO(STOPPED) | TO(FAILED)},
    [BX_BOX_STOPPED] = {"stopped", false, TO(RUNNING)},
    [BX_BOX_FAILED] = {"failed", false, TO(RUNNING)},
};
#define STATES ((int)BX_ARRAY_SIZE(states))

static int known(int state)
{
    return state > 0 && state < STATES ? state : 0;
}

bool bx_state_may(int from, int to)
{
    return known(to) && (states[known(from)].to & 1u << to);
}

unsigned bx_state_before(int to)
{
    unsigned mask = 0;

    for (int from = 1; from < STATES; from++)
        if (bx_state_may(from, to))
            mask |= 1u << from;
    return mask;
}

bool bx_state_active(int state)
{
    return states[known(state)].active;
}

const char *bx_state_name(int state)
{
    return states[known(state)].name;
}
