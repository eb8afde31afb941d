/*
 * runtime/net/lwip/lwippools.h: pools behind lwIP's mem_malloc(), by size. lwIP includes this
 * several times, so it has no include guard. Together 4.4 MiB.
 */
LWIP_MALLOC_MEMPOOL_START
LWIP_MALLOC_MEMPOOL(2048, 128) /* headers of TCP segments, acknowledgements, ARP */
LWIP_MALLOC_MEMPOOL(512, 256)
LWIP_MALLOC_MEMPOOL(1024, 640)  /* small replies in one piece */
LWIP_MALLOC_MEMPOOL(2048, 1664) /* full frames */
LWIP_MALLOC_MEMPOOL(4, 8192)    /* mDNS state */
LWIP_MALLOC_MEMPOOL_END
