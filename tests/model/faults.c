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

struct entry {
    const char *name;
    unsigned modes;
    const char *what;
    /* What --fault asked for. */
    unsigned
        armed; /* modes; several --fault of one name with different modes make no sense: the last wins */
    unsigned nth; /* 0: each time */
    unsigned asked, hit;
};

static struct entry table[] = {
#include "tests/model/faults.inc"
};
#define COUNT (sizeof(table) / sizeof(table[0]))

static const char *const mode_names[] = {"fail", "hang", "late", "garbage"};

static struct entry *find(const char *name, size_t length)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

void fault_list(void)
{
    for (size_t i = 0; i < COUNT; i++)
        for (unsigned mode = 0; mode < 4; mode++)
            if (table[i].modes & 1u << mode)
                printf("%s %s  %s\n", table[i].name, mode_names[mode], table[i].what);
}

void fault_arm(const char *text)
{
    size_t length = strcspn(text, "=@");
    struct entry *entry = find(text, length);
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
    entry->nth = 0;
    if (*rest == '@') {
        char *end;
        unsigned long nth = strtoul(rest + 1, &end, 10);
        if (nth == 0 || nth > 1000000 || *end != '\0')
            die("--fault %s: @ wants a number from 1 on", text);
        entry->nth = (unsigned)nth;
    }
    entry->armed = 1u << mode;
}

bool fault_any(void)
{
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].armed != 0)
            return true;
    return false;
}

bool fault(struct model *m, const char *name, enum fault_mode *mode)
{
    struct entry *entry = find(name, strlen(name));
    if (entry == NULL)
        die("fault \"%s\" is not in the table", name);
    entry->asked++;
    if (entry->armed == 0 || (entry->nth != 0 && entry->asked != entry->nth))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (entry->armed == 1u << i) {
            if (mode != NULL)
                *mode = (enum fault_mode)i;
            if (entry->hit++ < 100)
                note(m, "fault %s=%s, time %u: %s", name, mode_names[i], entry->asked, entry->what);
        }
    return true;
}

uint64_t late_ns(void)
{
    return UINT64_C(300) * 1000 * 1000;
}
