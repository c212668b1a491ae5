/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest suspends to RAM: run states, events, and who wakes it up. */
#include "board-fixture.h"
#include "core/event.h"
#include "core/runstate.h"
#include "hw/x86/x86.h"

static GString *sleep_events;
static Device *sleeper;
static bool can_wake;

static void note_sleep(const char *name, JsonObject *data, void *opaque)
{
    g_string_append_printf(sleep_events, "%s ", name);
}

static void assert_slept(const char *events, RunState state)
{
    g_assert_cmpstr(sleep_events->str, ==, events);
    g_assert_cmpstr(run_state_name(run_state()), ==, run_state_name(state));
    g_assert_true(run_state_is_asleep() == (state == RUN_STATE_SUSPENDED));
    g_string_truncate(sleep_events, 0);
}

static bool wake(WakeupReason reason, void *opaque)
{
    if (can_wake) {
        devices_wakeup();
        x86_pm_woken(sleeper, reason);
    }
    return can_wake;
}

static void fall_asleep(void)
{
    outw(0x602, 0x0500); /* button and clock */
    outw(0x604, X86_SLP_TYP_S3 << 10 | 0x2000);
}

/* Each step is the guest's or the user's, between two rounds of the main loop. */
static gboolean sleep_step(gpointer data)
{
    g_autoptr(GError) err = NULL;
    int *step = data;

    switch ((*step)++) {
    case 0:
        outw(0x604, X86_SLP_TYP_S3 << 10); /* says how, but not to do it */
        return G_SOURCE_CONTINUE;
    case 1:
        assert_slept("RESUME ", RUN_STATE_RUNNING);
        g_assert_false(system_wakeup_request(WAKEUP_REASON_OTHER, &err));
        g_assert_cmpstr(err->message, ==, "Unable to wake up: guest is not in suspended state");
        fall_asleep();
        return G_SOURCE_CONTINUE;
    case 2: /* it sleeps on through a stop; who wakes it then has come too early */
        assert_slept("SUSPEND ", RUN_STATE_SUSPENDED);
        g_assert_true(run_state_is_live());
        g_assert_false(run_state_is_running());
        vm_stop(RUN_STATE_PAUSED);
        g_assert_true(run_state_is_asleep());
        g_assert_false(system_wakeup_request(WAKEUP_REASON_OTHER, NULL));
        vm_start();
        assert_slept("STOP RESUME ", RUN_STATE_SUSPENDED);
        g_assert_true(system_wakeup_request(WAKEUP_REASON_OTHER, NULL));
        return G_SOURCE_CONTINUE;
    case 3:
        assert_slept("WAKEUP ", RUN_STATE_RUNNING);
        g_assert_cmphex(inw(0x600), ==, 0x8100);
        g_assert_cmphex(inw(0x602), ==, 0); /* of a device that was reset */
        outw(0x600, 0x8100);
        g_assert_cmphex(inw(0x600), ==, 0);
        fall_asleep();
        vm_stop(RUN_STATE_PAUSED); /* before the main loop gets to it */
        g_assert_true(run_state_is_asleep());
        system_powerdown_request(); /* the button is remembered */
        return G_SOURCE_CONTINUE;
    case 4:
        g_assert_cmpint(run_state(), ==, RUN_STATE_PAUSED);
        vm_start();
        assert_slept("SUSPEND STOP POWERDOWN RESUME ", RUN_STATE_SUSPENDED);
        return G_SOURCE_CONTINUE;
    case 5:
        assert_slept("WAKEUP ", RUN_STATE_RUNNING);
        g_assert_cmphex(inw(0x600), ==, 0x8100);
        fall_asleep();
        return G_SOURCE_CONTINUE;
    case 6: /* a wake-up and a stop at once: it is awake then */
        assert_slept("SUSPEND ", RUN_STATE_SUSPENDED);
        g_assert_true(system_wakeup_request(WAKEUP_REASON_OTHER, NULL));
        vm_stop(RUN_STATE_PAUSED);
        vm_start();
        assert_slept("WAKEUP STOP RESUME ", RUN_STATE_RUNNING);
        rtc_put(1, 0xc0); /* every second */
        rtc_put(3, 0xc0);
        rtc_put(5, 0xc0);
        rtc_get(12);
        rtc_put(11, 0x22);
        fall_asleep();
        return G_SOURCE_CONTINUE;
    case 7:
        *step -= run_state_is_asleep();
        return G_SOURCE_CONTINUE;
    case 8:
        assert_slept("SUSPEND WAKEUP ", RUN_STATE_RUNNING);
        g_assert_cmphex(inw(0x600), ==, 0x8400);
        g_assert_cmphex(rtc_get(11), ==, 0x02); /* the alarm is off */
        fall_asleep();
        return G_SOURCE_CONTINUE;
    case 9: /* nowhere to wake up: the machine is reset, and runs */
        assert_slept("SUSPEND ", RUN_STATE_SUSPENDED);
        can_wake = false;
        g_assert_true(system_wakeup_request(WAKEUP_REASON_OTHER, NULL));
        return G_SOURCE_CONTINUE;
    case 10:
        *step -= run_state_is_asleep();
        return G_SOURCE_CONTINUE;
    case 11:
        assert_slept("RESET ", RUN_STATE_RUNNING);
        fall_asleep();
        return G_SOURCE_CONTINUE;
    case 12: /* a reset from outside waits for `cont` */
        assert_slept("SUSPEND ", RUN_STATE_SUSPENDED);
        system_reset_request(SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
        return G_SOURCE_CONTINUE;
    case 13:
        assert_slept("RESET ", RUN_STATE_PRELAUNCH);
        vm_start();
        assert_slept("RESUME ", RUN_STATE_RUNNING);
        fall_asleep(); /* a reset at the same time counts more */
        system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
        return G_SOURCE_CONTINUE;
    case 14:
        assert_slept("RESET ", RUN_STATE_RUNNING);
        fall_asleep();
        return G_SOURCE_CONTINUE;
    default:
        assert_slept("SUSPEND ", RUN_STATE_SUSPENDED);
        system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
        return G_SOURCE_REMOVE;
    }
}

static void test_sleep(void)
{
    Device *rtc = board_plug(g_object_new(g_type_from_name(TYPE_MC146818_RTC), NULL));
    int step = 0;

    sleeper = board_plug(g_object_new(g_type_from_name(TYPE_X86_PM), NULL));
    rtc_set_pm(rtc, sleeper);
    sleep_events = g_string_new(NULL);
    event_set_listener(note_sleep, NULL);
    fall_asleep(); /* nobody would wake it */
    g_assert_false(wakeup_is_supported());
    wakeup_register(wake, NULL);
    can_wake = true;
    vm_stop(RUN_STATE_PAUSED);
    vm_start();
    g_idle_add(sleep_step, &step);
    g_assert_cmpint(main_loop_run(), ==, 0);
    g_assert_cmpint(step, ==, 16);
    event_set_listener(NULL, NULL);
    run_state_set_asleep(false);
    wakeup_register(NULL, NULL);
    g_string_free(sleep_events, TRUE);
    device_destroy(rtc);
    device_destroy(sleeper);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    board_begin(NULL);
    g_test_add_func("/sleep", test_sleep);
    return g_test_run();
}
