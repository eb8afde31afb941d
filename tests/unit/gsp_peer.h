/*
 * tests/unit/gsp_peer.h: a GSP made of memory, for tests of the RPC layer and what stands on it: the other end of the two
 * queues, and registers that remember what was written.
 *
 * Written from open-gpu-kernel-modules 570.144 (message_queue_priv.h, msgq.c), with numbers of its own: element header of
 * 48 bytes (checksum at 32, sequence 36, element count 40), message header of 32 (version, signature, length, function,
 * result ...), queue headers of 32 bytes with the read pointer of the other queue behind them.
 *
 * It works when the doorbell is rung, inside the register write, and answers with what `answer` puts; by default every
 * message comes back as it is. What the driver sends is checked as strictly as the real thing would at best do.
 */
#ifndef INGOT_TEST_GSP_PEER_H
#define INGOT_TEST_GSP_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/nvidia/gsp/hw.h"
#include "gpu/nvidia/gsp/rpc.h"
#include "tests/host/host.h"

#define PEER_REGISTER_BYTES 0xc00000u
#define PEER_DOORBELL       0x110c00u
#define PEER_MESSAGE_MAX    (1u << 20)
#define PEER_ECHO_PAYLOAD_MAX (65536u - 80)

struct peer {
    struct hw hw;
    struct rpc rpc;
    uint8_t *command, *status; /* the queues, found as the firmware would */
    uint32_t command_read, command_sequence;
    uint32_t status_write, status_sequence;
    bool is_deaf;              /* looks at no doorbell */
    bool is_started;           /* its queue has a header */
    unsigned doorbells, messages;

    uint32_t function;         /* the message being put together from its records */
    uint32_t message_bytes;
    uint8_t message[PEER_MESSAGE_MAX];
    void (*answer)(struct peer *peer, uint32_t function, const uint8_t *payload, uint32_t bytes);
    void *answer_arg;
};

static struct peer peer;
static uint32_t peer_registers[PEER_REGISTER_BYTES / 4];
/* What a register write does beside being remembered; NULL: nothing. */
static void (*peer_on_write)(uint32_t reg, uint32_t value);
/* The same for registers that do not remember what is written: true when the write has been dealt with. */
static bool (*peer_take_write)(uint32_t reg, uint32_t value);
/* What a register reads as; NULL: as it was written. */
static uint32_t (*peer_on_read)(uint32_t reg);

static void peer_work(struct peer *p);

/* ---- registers --------------------------------------------------------------------------------------------------- */

static uint32_t peer_offset(const volatile void *reg)
{
    return (uint32_t)((const volatile uint8_t *)reg - (const volatile uint8_t *)peer_registers);
}

uint32_t mmio_read32(const volatile void *reg)
{
    uint32_t offset = peer_offset(reg);
    assert_true(offset < PEER_REGISTER_BYTES);
    return peer_on_read != NULL ? peer_on_read(offset) : peer_registers[offset / 4];
}

void mmio_write32(volatile void *reg, uint32_t value)
{
    uint32_t offset = peer_offset(reg);
    assert_true(offset < PEER_REGISTER_BYTES);
    if (peer_take_write != NULL && peer_take_write(offset, value))
        return;
    peer_registers[offset / 4] = value;
    if (offset == PEER_DOORBELL) {
        peer.doorbells++;
        if (!peer.is_deaf)
            peer_work(&peer);
    } else if (peer_on_write != NULL) {
        peer_on_write(offset, value);
    }
}

uint8_t mmio_read8(const volatile void *reg)
{
    (void)reg;
    fail_msg("the GPU's registers are 32 bits wide");
    return 0;
}

uint16_t mmio_read16(const volatile void *reg)
{
    return mmio_read8(reg);
}

uint64_t mmio_read64(const volatile void *reg)
{
    return mmio_read8(reg);
}

void mmio_write8(volatile void *reg, uint8_t value)
{
    (void)reg;
    (void)value;
    fail_msg("the GPU's registers are 32 bits wide");
}

void mmio_write16(volatile void *reg, uint16_t value)
{
    mmio_write8(reg, (uint8_t)value);
}

void mmio_write64(volatile void *reg, uint64_t value)
{
    mmio_write8(reg, (uint8_t)value);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void put32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t xor_words(const uint8_t *p, uint32_t bytes)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < bytes; i += 4)
        sum ^= get32(p + i);
    return sum;
}

/* ---- queues ------------------------------------------------------------------------------------------------------ */

/* The byte at offset `at` of the shared area, by way of the page table, as the firmware maps it. */
static uint8_t *peer_shared(struct peer *p, uint64_t at)
{
    uint64_t page = get64(p->rpc.shared + at / 4096 * 8);
    assert_int_equal(page % 4096, 0);
    assert_in_range(page, p->rpc.shared_dma, p->rpc.shared_dma + p->rpc.shared_bytes - 4096);
    return p->rpc.shared + (page - p->rpc.shared_dma) + at % 4096;
}

/* The GSP starts: it finds the queues and makes its own. */
static void peer_start(struct peer *p)
{
    struct gsp_queue_arguments arguments;
    rpc_fill_arguments(&p->rpc, &arguments);
    assert_int_equal(arguments.shared_memory_bus, p->rpc.shared_dma);
    assert_int_equal(arguments.page_table_entry_count, 129);
    for (unsigned i = 0; i < arguments.page_table_entry_count; i++)
        assert_int_equal(get64(p->rpc.shared + i * 8), arguments.shared_memory_bus + i * 4096);
    p->command = peer_shared(p, arguments.command_queue_offset);
    p->status = peer_shared(p, arguments.status_queue_offset);
    assert_ptr_equal(p->status, p->command + 0x40000);
    const uint32_t want[8] = {0, 0x40000, 4096, 63, get32(p->command + 16), 1, 32, 4096};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(get32(p->command + i * 4), want[i]);
    const uint32_t header[8] = {0, 0x40000, 4096, 63, 0, 1, 32, 4096};
    for (unsigned i = 0; i < 8; i++)
        put32(p->status + i * 4, header[i]);
    p->is_started = true;
}

/* Put one record of the status queue; the test may spoil it before peer_publish(). Returns its first element. */
static uint8_t *peer_record(struct peer *p, uint32_t function, uint32_t result, const void *payload, uint32_t bytes)
{
    static uint8_t record[16 * 4096];
    uint32_t length = 32 + bytes, elements = (48 + length + 4095) / 4096;
    assert_true(elements <= 16);
    memset(record, 0, sizeof(record));
    put32(record + 36, p->status_sequence++);
    put32(record + 40, elements);
    put32(record + 48, 3u << 24);
    put32(record + 52, 0x43505256);
    put32(record + 56, length);
    put32(record + 60, function);
    put32(record + 64, result);
    if (bytes > 0)
        memcpy(record + 80, payload, bytes);
    put32(record + 32, xor_words(record, elements * 4096));
    uint8_t *first = p->status + 4096 + p->status_write % 63 * 4096;
    for (uint32_t i = 0; i < elements; i++)
        memcpy(p->status + 4096 + (p->status_write + i) % 63 * 4096, record + i * 4096, 4096);
    p->status_write = (p->status_write + elements) % 63;
    return first;
}

static void peer_publish(struct peer *p)
{
    put32(p->status + 16, p->status_write);
}

static void peer_send(struct peer *p, uint32_t function, uint32_t result, const void *payload, uint32_t bytes)
{
    peer_record(p, function, result, payload, bytes);
    peer_publish(p);
}

/* A message of any length: records of the full size, then the rest. */
static void peer_send_large(struct peer *p, uint32_t function, const uint8_t *payload, uint32_t bytes)
{
    do {
        uint32_t part = bytes < PEER_ECHO_PAYLOAD_MAX ? bytes : PEER_ECHO_PAYLOAD_MAX;
        peer_send(p, function, 0, payload, part);
        function = 71;
        payload += part;
        bytes -= part;
    } while (bytes > 0);
}

static void peer_deliver(struct peer *p)
{
    p->messages++;
    if (p->answer != NULL)
        p->answer(p, p->function, p->message, p->message_bytes);
    else
        peer_send_large(p, p->function, p->message, p->message_bytes);
}

/* Take what has come in the command queue. A message whose last record is full may go on. */
static void peer_work(struct peer *p)
{
    static uint8_t record[16 * 4096];
    if (!p->is_started)
        return;
    uint32_t write = get32(p->command + 16);
    assert_in_range(write, 0, 62);
    while (p->command_read != write) {
        const uint8_t *first = p->command + 4096 + p->command_read * 4096;
        uint32_t elements = get32(first + 40), available = (write + 63 - p->command_read) % 63;
        assert_in_range(elements, 1, 16);
        assert_true(elements <= available);
        for (uint32_t i = 0; i < elements; i++)
            memcpy(record + i * 4096, p->command + 4096 + (p->command_read + i) % 63 * 4096, 4096);
        p->command_read = (p->command_read + elements) % 63;
        put32(p->status + 32, p->command_read);

        uint32_t length = get32(record + 56), function = get32(record + 60);
        assert_int_equal(get32(record + 36), p->command_sequence++);
        assert_true(length >= 32 && 48 + length <= elements * 4096 && 48 + length > (elements - 1) * 4096);
        assert_int_equal(xor_words(record, (48 + length + 7) / 8 * 8), 0);
        assert_int_equal(get32(record + 44), 0);
        assert_int_equal(get32(record + 48), 3u << 24);
        assert_int_equal(get32(record + 52), 0x43505256);
        assert_int_equal(get32(record + 64), 0xffffffff);
        assert_int_equal(get32(record + 68), 0xffffffff);
        for (unsigned i = 0; i < 32; i++)
            assert_int_equal(record[i], 0);
        if (function != 71) {
            p->function = function;
            p->message_bytes = 0;
        }
        assert_true(p->message_bytes + length - 32 <= PEER_MESSAGE_MAX);
        memcpy(p->message + p->message_bytes, record + 80, length - 32);
        p->message_bytes += length - 32;
        if (length - 32 < PEER_ECHO_PAYLOAD_MAX)
            peer_deliver(p);
    }
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

static uint64_t peer_live_bytes;

static inline void peer_open(const char *chip_name)
{
    static const struct hw_chip ga102 = {.name = "ga102", .chip_id_first = 0x172, .falcon = HW_FALCON_GA102};
    static const struct hw_chip tu102 = {.name = "tu102", .chip_id_first = 0x162, .falcon = HW_FALCON_TU102};
    static const struct hw_chip gh100 = {
        .name = "gh100", .chip_id_first = 0x180, .falcon = HW_FALCON_GA102, .boot = HW_BOOT_FSP};
    memset(&peer, 0, sizeof(peer));
    memset(peer_registers, 0, sizeof(peer_registers));
    peer_on_write = NULL;
    peer_take_write = NULL;
    peer_on_read = NULL;
    host_log_level(LOG_ERROR);
    peer_live_bytes = host_page_live_bytes();
    peer.hw = (struct hw){
        .name = "nvidia0",
        .chip = strcmp(chip_name, "gh100") == 0   ? &gh100
                : strcmp(chip_name, "tu102") == 0 ? &tu102
                                                  : &ga102,
        .bar0 = (volatile uint8_t *)peer_registers,
        .bar0_bytes = PEER_REGISTER_BYTES,
        .vram_bytes = UINT64_C(24) << 30,
    };
    assert_int_equal(rpc_init(&peer.rpc, &peer.hw), 0);
}

static inline void peer_close(void)
{
    rpc_fini(&peer.rpc);
    assert_int_equal(host_page_live_bytes(), peer_live_bytes);
}

#endif
