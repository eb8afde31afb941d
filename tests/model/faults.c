/*
 * tests/model/faults.c: what can be made to go wrong, one name per step, and the modes that the step knows.
 *
 * A part asks fault(m, "name", &mode) at the step and then behaves accordingly. The end-to-end tests walk this table
 * (--list-faults), so every entry must be asked for by the code; a name that is asked for and not here ends the program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/parts.h"

#define F (1u << FAULT_FAIL)
#define H (1u << FAULT_HANG)
#define L (1u << FAULT_LATE)
#define G (1u << FAULT_GARBAGE)

/* The table itself: one FAULT(name, modes, what happens) per step, in the order of a boot. */
struct entry {
    const char *name;
    unsigned modes;
    const char *what;
};

static const struct entry table[] = {
#include "tests/model/faults.inc"
};
#define COUNT (sizeof(table) / sizeof(table[0]))

/* What --fault asked for. */
static struct {
    unsigned armed; /* one mode's bit; of several --fault with one name the last wins */
    unsigned nth;   /* 0: each time */
    unsigned asked, hit;
} state[COUNT];

static const char *const mode_names[] = {"fail", "hang", "late", "garbage"};

static const struct entry *find(const char *name, size_t length)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* Chips are started by booter on SEC2, or by the FSP; the other one's faults never come up. */
static bool applies(const char *name, const struct chip *chip)
{
    bool has_fsp = chip->family >= HOPPER;
    if (begins(name, "fsp.") || begins(name, "fmc."))
        return has_fsp;
    if (begins(name, "fwsec.") || begins(name, "booter.") || begins(name, "sec2.") ||
        begins(name, "sequencer.") || begins(name, "vbios.") || strcmp(name, "gsp.reset") == 0 ||
        strcmp(name, "gsp.dma") == 0)
        return !has_fsp;
    return true;
}

void fault_list(const struct chip *chip)
{
    for (size_t i = 0; i < COUNT; i++)
        for (unsigned mode = 0; mode < 4; mode++)
            if ((table[i].modes & 1u << mode) && applies(table[i].name, chip))
                printf("%s %s  %s\n", table[i].name, mode_names[mode], table[i].what);
}

void fault_arm(const char *text)
{
    size_t length = strcspn(text, "=@");
    const struct entry *entry = find(text, length);
    if (entry == NULL)
        die("--fault %s: no such fault (see --list-faults)", text);
    unsigned mode = 0;
    while (!(entry->modes & 1u << mode))
        mode++;
    const char *rest = text + length;
    if (*rest == '=') {
        rest++;
        size_t n = strcspn(rest, "@");
        for (mode = 0; mode < 4; mode++)
            if (strlen(mode_names[mode]) == n && memcmp(mode_names[mode], rest, n) == 0)
                break;
        if (mode == 4 || !(entry->modes & 1u << mode))
            die("--fault %s: this step has no such mode (see --list-faults)", text);
        rest += n;
    }
    state[entry - table].nth = 0;
    if (*rest == '@') {
        char *end;
        unsigned long nth = strtoul(rest + 1, &end, 10);
        if (nth == 0 || nth > 1000000 || *end != '\0')
            die("--fault %s: @ wants a number from 1 on", text);
        state[entry - table].nth = (unsigned)nth;
    }
    state[entry - table].armed = 1u << mode;
}

void fault_disarm_all(void)
{
    memset(state, 0, sizeof(state));
}

const char *fault_get(const struct chip *chip, unsigned index)
{
    static char text[96];
    for (size_t i = 0; i < COUNT; i++)
        for (unsigned mode = 0; mode < 4; mode++)
            if ((table[i].modes & 1u << mode) && applies(table[i].name, chip) && index-- == 0) {
                snprintf(text, sizeof(text), "%s=%s", table[i].name, mode_names[mode]);
                return text;
            }
    return NULL;
}

bool fault(struct model *m, const char *name, enum fault_mode *mode)
{
    const struct entry *entry = find(name, strlen(name));
    if (entry == NULL)
        die("fault \"%s\" is not in the table", name);
    state[entry - table].asked++;
    if (state[entry - table].armed == 0 ||
        (state[entry - table].nth != 0 && state[entry - table].asked != state[entry - table].nth))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (state[entry - table].armed == 1u << i) {
            if (mode != NULL)
                *mode = (enum fault_mode)i;
            if (state[entry - table].hit++ < 100)
                note(m, "fault %s=%s, time %u: %s", name, mode_names[i], state[entry - table].asked,
                     entry->what);
        }
    return true;
}

uint64_t late_ns(void)
{
    return UINT64_C(300) * 1000 * 1000;
}
