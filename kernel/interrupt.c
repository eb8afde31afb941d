/*
 * kernel/interrupt.c: the interrupt descriptor table (SDM 3A, 6.10 and 6.14) and the vectors that devices get.
 *
 * One table for all cores; which handler a device vector means is each core's own. Handlers run with interrupts
 * off on the core's interrupt stack.
 */
#include "kernel/interrupt.h"

#include "kernel/apic.h"
#include "kernel/paging.h"
#include "kernel/x86.h"

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
static_assert(sizeof(struct gate) == 16, "SDM 3A, figure 6-8");
#define GATE_INTERRUPT      0x8e /* present, ring 0, 64-bit interrupt gate: interrupts go off */

/* MSI address and data (SDM 3A, 11.11): fixed delivery, edge, physical destination. */
#define MSI_ADDRESS         UINT64_C(0xfee00000)
#define MSI_ADDRESS_APIC_ID BITS(19, 12)

extern const char vector_entries[]; /* kernel/vectors.S */
SEALED static struct gate table[256];
static struct spinlock allocation_lock;

void interrupt_table_build(void)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t entry = (uint64_t)vector_entries + 16 * vector;
        enum ist_slot slot = vector == 8    ? IST_DOUBLE_FAULT
                             : vector == 2  ? IST_NMI
                             : vector == 18 ? IST_MACHINE_CHECK
                             : vector < 32  ? IST_EXCEPTION
                                            : IST_INTERRUPT;
        table[vector] = (struct gate){
            .offset_low = (uint16_t)entry,
            .selector = SELECTOR_CODE,
            .ist = (uint8_t)slot,
            .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(entry >> 16),
            .offset_high = (uint32_t)(entry >> 32),
        };
    }
}

void interrupt_table_load(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr = {sizeof(table) - 1, (uint64_t)table};
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void interrupt_handle(uint64_t vector)
{
    struct core *core = core_self();
    if (vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST) {
        struct irq_slot slot = core->irq[vector - VECTOR_DEVICE_FIRST];
        if (slot.handler != NULL)
            slot.handler(slot.arg);
    } else if (vector == VECTOR_TIMER) {
        core->timer_deadline_ns =
            DEADLINE_NEVER; /* one shot; leaving the halt is all that it is for */
    } else if (vector == VECTOR_TLB) {
        tlb_drop_if_wanted();
    }
    if (vector != VECTOR_SPURIOUS) /* which has no bit in the in-service register (SDM 3A, 11.9) */
        apic_end_of_interrupt();
}

int irq_alloc(unsigned core_index, irq_handler handler, void *arg, uint64_t *msi_address,
              uint32_t *msi_data)
{
    if (core_index >= core_count() || handler == NULL)
        return -EINVAL;
    struct core *core = core_table[core_index];
    if (core->apic_id > field_get(MSI_ADDRESS_APIC_ID, UINT64_MAX))
        return -ENOTSUP; /* 8 bits of destination, without interrupt remapping */
    int result = -ENOSPC;
    uint64_t flags = spin_lock(&allocation_lock);
    for (unsigned i = 0; i < VECTOR_DEVICE_COUNT; i++) {
        if (core->irq[i].handler == NULL) {
            core->irq[i].arg = arg;
            atomic_signal_fence(memory_order_release);
            core->irq[i].handler = handler;
            *msi_address = MSI_ADDRESS | field_put(MSI_ADDRESS_APIC_ID, core->apic_id);
            *msi_data = VECTOR_DEVICE_FIRST + i;
            result = 0;
            break;
        }
    }
    spin_unlock(&allocation_lock, flags);
    return result;
}

void irq_free(uint64_t msi_address, uint32_t msi_data)
{
    uint64_t apic_id = field_get(MSI_ADDRESS_APIC_ID, msi_address);
    assert(msi_data >= VECTOR_DEVICE_FIRST && msi_data <= VECTOR_DEVICE_LAST);
    uint64_t flags = spin_lock(&allocation_lock);
    for (unsigned i = 0; i < core_count(); i++) {
        if (core_table[i]->apic_id == apic_id)
            core_table[i]->irq[msi_data - VECTOR_DEVICE_FIRST].handler = NULL;
    }
    spin_unlock(&allocation_lock, flags);
}
