/*
 * tests/model/embed.h: the model inside a test program, beside the driver: no QEMU, no socket, one thread, the test's clock. The
 * objects are linked into one (build/model/embedded.o) that shows these names only, so that nothing of the two gets mixed up.
 *
 * A bus address is an address of the program. Registers go through embed_read32() and embed_write32(), time passes for the model in
 * embed_pump(). One model at a time.
 */
#ifndef INGOT_TESTS_MODEL_EMBED_H
#define INGOT_TESTS_MODEL_EMBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model;

struct embed_facts {
    uint16_t device_id, subsystem_id;
    uint8_t revision;
    uint64_t bar0_bus, bar1_bus, bar3_bus;
    uint64_t bar0_bytes, vram_bytes, bar1_bytes;
    unsigned bar1_index;          /* 1, or 2 where BAR0 has 64 bits */
    bool has_msix, has_function_reset;
    uint8_t *vram;                /* what BAR1 shows */
};
/* firmware and trace may be NULL. */
struct model *embed_open(const char *chip, uint64_t vram_mib, const char *firmware, const char *trace, uint64_t (*clock)(void),
                         struct embed_facts *facts);
void embed_close(struct model *m);
uint32_t embed_read32(struct model *m, uint64_t offset);
void embed_write32(struct model *m, uint64_t offset, uint32_t value);
void embed_command(struct model *m, uint16_t command); /* PCI's command register */
uint32_t embed_config_read32(struct model *m, unsigned offset);
void embed_config_write32(struct model *m, unsigned offset, uint32_t value);
uint64_t embed_bar1_bytes(struct model *m);            /* now */
void embed_reset(struct model *m);
void embed_left_running(struct model *m);
void embed_pump(struct model *m);
void embed_on_interrupt(struct model *m, void (*fn)(void *arg), void *arg);

void embed_fault(const char *text);                    /* "NAME=MODE@N"; NULL: none any more */
const char *embed_fault_get(struct model *m, unsigned index);
unsigned embed_refusals(const struct model *m);
const char *embed_last_refusal(const struct model *m);
bool embed_was_refused(const struct model *m, const char *text); /* among the first of them, as a part of its words */

#endif
