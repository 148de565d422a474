/* Functions of DPDK which exist only as static inlines or macros, given a symbol that Rust can link to.
 * Packet functions work on whole bursts, so that one call is paid per burst and not per packet. */
#ifndef DPDK_SHIM_H
#define DPDK_SHIM_H

#include <stdint.h>
#include <stdio.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

uint16_t dpdk_shim_rx_burst(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **packets, uint16_t count);
uint16_t dpdk_shim_tx_burst(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **packets, uint16_t count);
uint16_t dpdk_shim_tx_prepare(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **packets, uint16_t count);

int dpdk_shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
struct rte_mbuf *dpdk_shim_pktmbuf_alloc(struct rte_mempool *pool);
void dpdk_shim_pktmbuf_free(struct rte_mbuf *mbuf);

/* One packet from a ring that has this caller as its only consumer; NULL if it is empty. */
struct rte_mbuf *dpdk_shim_ring_dequeue(struct rte_ring *ring);

/* The pool of the buffer that an mbuf's bytes are in: of an indirect mbuf, that of the mbuf it is attached to. */
struct rte_mempool *dpdk_shim_pktmbuf_data_pool(struct rte_mbuf *mbuf);

/* The memory that DPDK has reserved under this name, and its size; NULL if there is none. */
void *dpdk_shim_memzone(const char *name, size_t *size);

uint64_t dpdk_shim_rdtsc(void);
int dpdk_shim_errno(void);
unsigned int dpdk_shim_lcore_id(void);

/* Receives one message of DPDK's log: its level (RTE_LOG_*), and its bytes, which are not terminated. */
typedef void (*dpdk_shim_log_callback)(uint32_t level, const char *bytes, size_t size);

/* A stream for rte_openlog_stream() that hands each message to the callback. NULL if there is no memory. */
FILE *dpdk_shim_log_stream(dpdk_shim_log_callback callback);

#endif
