/*
 * tests/unit/fake_e1000e.h: an Intel 82574L, written from its datasheet (revision 3.4). BAR 0 holds its registers;
 * the mmio functions below are this device. It can be told to misbehave.
 */
#ifndef INGOT_TEST_FAKE_E1000E_H
#define INGOT_TEST_FAKE_E1000E_H

#include "runtime/net/e1000e_regs.h"
#include "tests/unit/nic_fixture.h"

static struct fake_e1000e {
    struct pci_device *pci;
    uint32_t *regs;
    uint8_t mac[6];
    uint32_t rx_head, tx_head; /* ring positions */
    uint32_t mask, cause;      /* IMS and ICR as the device holds them */
    unsigned interrupts, tx_kicks, rx_kicks;
    uint64_t context; /* the last context descriptor */
    unsigned context_count;
    uint32_t last_options; /* of the last data descriptor fetched */
    /* misbehaviour */
    bool never_resets, master_stays, no_nvm, is_gone;
} fake;

static uint32_t *fake_reg(unsigned offset)
{
    assert_true(offset % 4 == 0 && offset < E1000_REGISTER_BYTES);
    return &fake.regs[offset / 4];
}

/* An MSI-X message for a cause that is not masked (7.4.1). The message clears (EIAC) and masks (IAM) it. */
static void fake_cause(uint32_t bits)
{
    fake.cause |= bits;
    uint32_t ivar = *fake_reg(E1000_IVAR);
    if ((fake.cause & fake.mask & E1000_INT_RXQ0) && (ivar & E1000_IVAR_RXQ0_VALID)) {
        fake.cause &= ~*fake_reg(E1000_EIAC);
        if (*fake_reg(E1000_CTRL_EXT) & E1000_CTRL_EXT_EIAME)
            fake.mask &= ~*fake_reg(E1000_IAM);
        fake.interrupts++;
        host_pci_msix_raise(fake.pci, (unsigned)field_get(E1000_IVAR_RXQ0, ivar));
    }
    if ((fake.cause & fake.mask & E1000_INT_OTHER) && (ivar & E1000_IVAR_OTHER_VALID)) {
        fake.mask &= ~(uint32_t)E1000_INT_OTHER;
        host_pci_msix_raise(fake.pci, (unsigned)field_get(E1000_IVAR_OTHER, ivar));
    }
}

static void fake_reset(void)
{
    memset(fake.regs, 0, E1000_REGISTER_BYTES);
    fake.mask = fake.cause = 0;
    fake.rx_head = fake.tx_head = 0;
    fake.context = 0;
    *fake_reg(E1000_STATUS) = E1000_STATUS_LU;
    *fake_reg(E1000_EECD) = fake.no_nvm ? 0 : E1000_EECD_AUTO_RD;
    memcpy(fake_reg(E1000_RAL0), fake.mac, 6);
    *fake_reg(E1000_RAH0) |= E1000_RAH_AV;
}

uint32_t mmio_read32(const volatile void *reg)
{
    uintptr_t at = (uintptr_t)reg - (uintptr_t)fake.regs;
    if (at >= E1000_REGISTER_BYTES)
        return *(const volatile uint32_t *)reg;
    if (fake.is_gone)
        return UINT32_MAX;
    if (at == E1000_STATUS && fake.master_stays)
        return *fake_reg(E1000_STATUS) | E1000_STATUS_GIO_MASTER_ENABLE;
    return *fake_reg((unsigned)at);
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    unsigned at = (unsigned)((uintptr_t)reg - (uintptr_t)fake.regs);
    if (fake.is_gone)
        return;
    switch (at) {
    case E1000_CTRL:
        if ((value & E1000_CTRL_RST) && !fake.never_resets)
            fake_reset();
        else
            *fake_reg(at) = value;
        return;
    case E1000_IMC:
        fake.mask &= ~value;
        return;
    case E1000_IMS:
        fake.mask |= value;
        fake_cause(0);
        return;
    case E1000_ICR:
        fake.cause &= ~value;
        return;
    case E1000_TDT:
        fake.tx_kicks++;
        break;
    case E1000_RDT:
        fake.rx_kicks++;
        break;
    }
    *fake_reg(at) = value;
}

#define FAKE_NO_ACCESS(bits) \
    uint##bits##_t mmio_read##bits(const volatile void *reg) \
    { \
        fail_msg("registers are 32 bits wide: read of %p", (const void *)(uintptr_t)reg); \
        return 0; \
    } \
    void mmio_write##bits(volatile void *reg, uint##bits##_t value) \
    { \
        fail_msg("registers are 32 bits wide: write of %p", (void *)(uintptr_t)reg); \
        (void)value; \
    }
FAKE_NO_ACCESS(8)
FAKE_NO_ACCESS(16)
FAKE_NO_ACCESS(64)

/* ---- rings: the device's side ---------------------------------------------------------------- */

static void *fake_dma(uint64_t address)
{
    assert_true(host_pci_is_bus_master(fake.pci));
    return (void *)(uintptr_t)address;
}

static void *fake_ring(unsigned base_reg, unsigned position)
{
    uint64_t base = *fake_reg(base_reg) | (uint64_t)*fake_reg(base_reg + 4) << 32;
    assert_true(base % 128 == 0 && position < 256 && *fake_reg(base_reg + 8) == 4096);
    return (uint8_t *)fake_dma(base) + 16 * position;
}

/* A frame arrives with these status and error bits besides DD. False when there is no descriptor. */
static bool fake_deliver(const void *frame, unsigned bytes, uint8_t status, uint8_t errors,
                         uint16_t claimed_bytes)
{
    assert_true(*fake_reg(E1000_RCTL) & E1000_RCTL_EN);
    if (fake.rx_head == *fake_reg(E1000_RDT))
        return false;
    struct e1000_rx_desc *desc = fake_ring(E1000_RDBAL, fake.rx_head);
    assert_int_equal(desc->status, 0);
    memcpy(fake_dma(desc->address), frame, bytes);
    desc->size_bytes = claimed_bytes != 0 ? claimed_bytes : (uint16_t)bytes;
    desc->errors = errors;
    desc->status = status | E1000_RXD_STATUS_DD;
    fake.rx_head = (fake.rx_head + 1) % 256;
    fake_cause(E1000_INT_RXQ0);
    return true;
}

/* Take a frame to send into out; its bytes, or -1. *last is its last descriptor, which is not yet marked done. */
static int fake_fetch(uint8_t *out, struct e1000_tx_desc **last)
{
    unsigned bytes = 0;
    assert_true(*fake_reg(E1000_TCTL) & E1000_TCTL_EN);
    while (fake.tx_head != *fake_reg(E1000_TDT)) {
        struct e1000_tx_desc *desc = fake_ring(E1000_TDBAL, fake.tx_head);
        fake.tx_head = (fake.tx_head + 1) % 256;
        assert_true(desc->command & E1000_TXD_DEXT);
        if (field_get(E1000_TXD_DTYP, desc->command) == E1000_TXD_DTYP_CONTEXT) {
            assert_int_equal(bytes, 0);
            fake.context = desc->address;
            fake.context_count++;
            continue;
        }
        assert_true(desc->command & E1000_TXD_IFCS);
        unsigned length = (unsigned)field_get(E1000_TXD_DTALEN, desc->command);
        memcpy(out + bytes, fake_dma(desc->address), length);
        bytes += length;
        fake.last_options = desc->status;
        if (desc->command & E1000_TXD_EOP) {
            assert_true(desc->command & E1000_TXD_RS);
            *last = desc;
            return (int)bytes;
        }
    }
    assert_int_equal(bytes, 0);
    return -1;
}

static void fake_attach(void)
{
    fixture_init();
    fake = (struct fake_e1000e){.regs = calloc(1, E1000_REGISTER_BYTES),
                                .mac = {0x52, 0x54, 0, 0xab, 0xcd, 0xef}};
    struct pci_device device = {.vendor_id = 0x8086, .device_id = 0x10d3, .base_class = 2};
    device.bar[0] = (struct pci_bar){.pa = 0xfe000000, .size_bytes = E1000_REGISTER_BYTES};
    fake.pci = host_pci_add(&device, (void *[6]){fake.regs});
    host_pci_msix_entries(fake.pci, 5);
    fake_reset();
    *fake_reg(E1000_RCTL) = E1000_RCTL_EN; /* firmware left it running */
    fake.mask = UINT32_MAX;
}

static void fake_detach(void)
{
    fixture_finish();
    free(fake.regs);
    fake.regs = NULL;
}

#endif
