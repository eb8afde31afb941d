/*
 * kernel/serial.c: the first serial port, a 16550 (National PC16550D) at port 0x3f8.
 *
 * At 115200 baud a line of text takes 7 ms, so text goes through a ring: writers put in what the 16-byte FIFO
 * takes at once, idle cores do the rest (kernel/idle.c). A full ring waits for room; a port that stops sending
 * is given up.
 */
#include "kernel/console.h"

#include "kernel/kernel.h"
#include "kernel/x86.h"

#define PORT             0x3f8
#define DATA             (PORT + 0) /* divisor, low, while LINE_DIVISOR is set */
#define INTERRUPT_ENABLE (PORT + 1) /* divisor, high */
#define FIFO_CONTROL     (PORT + 2)
#define FIFO_ON          0x07 /* enabled, both emptied */
#define LINE_CONTROL     (PORT + 3)
#define LINE_8N1         0x03
#define LINE_DIVISOR     0x80
#define MODEM_CONTROL    (PORT + 4)
#define MODEM_READY      0x03 /* DTR and RTS */
#define LINE_STATUS      (PORT + 5)
#define STATUS_THR_EMPTY 0x20
#define SCRATCH          (PORT + 7)
#define DIVISOR_115200   1
#define FIFO_BYTES       16
#define FIFO_WAIT_NS \
    (100 * NS_PER_MS) /* a full FIFO takes 1.4 ms; a modem line may hold it up a little */

#define RING_BYTES 16384

static bool is_present;
static char ring[RING_BYTES];
static uint32_t put_index, get_index; /* count up for ever */

void serial_start(void)
{
    /* A port that is not there reads as all ones and keeps nothing. */
    port_write8(SCRATCH, 0x5a);
    bool keeps = port_read8(SCRATCH) == 0x5a;
    port_write8(SCRATCH, 0xa5);
    is_present = keeps && port_read8(SCRATCH) == 0xa5 && port_read8(LINE_STATUS) != 0xff;
    if (!is_present)
        return;
    port_write8(INTERRUPT_ENABLE, 0);
    port_write8(LINE_CONTROL, LINE_DIVISOR | LINE_8N1);
    port_write8(DATA, DIVISOR_115200);
    port_write8(INTERRUPT_ENABLE, 0);
    port_write8(LINE_CONTROL, LINE_8N1);
    port_write8(FIFO_CONTROL, FIFO_ON);
    port_write8(MODEM_CONTROL, MODEM_READY);
}

bool serial_is_present(void)
{
    return is_present;
}

bool serial_drain(void)
{
    while (is_present && put_index != get_index && port_read8(LINE_STATUS) & STATUS_THR_EMPTY) {
        for (int i = 0; i < FIFO_BYTES && put_index != get_index; i++)
            port_write8(DATA, (uint8_t)ring[get_index++ % RING_BYTES]);
    }
    return put_index != get_index;
}

/* Send until at most `left` bytes wait. The port is given up when it takes nothing for FIFO_WAIT_NS. */
static void wait_for(uint32_t left)
{
    uint64_t deadline = time_ns() + FIFO_WAIT_NS;
    uint32_t before = get_index;
    while (serial_drain() && put_index - get_index > left) {
        if (get_index != before) {
            before = get_index;
            deadline = time_ns() + FIFO_WAIT_NS;
        } else if (time_ns() > deadline) {
            is_present = false;
            get_index = put_index;
        }
    }
}

void serial_flush(void)
{
    wait_for(0);
}

static void put(char c)
{
    if (put_index - get_index == RING_BYTES)
        wait_for(RING_BYTES / 2);
    ring[put_index++ % RING_BYTES] = c;
}

void serial_write(const char *text, size_t length)
{
    if (!is_present)
        return;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
    }
    serial_drain();
}
