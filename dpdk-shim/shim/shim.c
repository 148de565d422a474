#define _GNU_SOURCE
#include <stdio.h>
#include <sys/types.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>
#include <rte_ring.h>

#include "shim.h"

uint16_t dpdk_shim_rx_burst(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_rx_burst(port_id, queue_id, packets, count);
}

uint16_t dpdk_shim_tx_burst(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_tx_burst(port_id, queue_id, packets, count);
}

uint16_t dpdk_shim_tx_prepare(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_tx_prepare(port_id, queue_id, packets, count);
}

int dpdk_shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

struct rte_mbuf *dpdk_shim_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void dpdk_shim_pktmbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

struct rte_mbuf *dpdk_shim_ring_dequeue(struct rte_ring *ring)
{
	void *mbuf;

	return rte_ring_sc_dequeue(ring, &mbuf) == 0 ? mbuf : NULL;
}

struct rte_mempool *dpdk_shim_pktmbuf_data_pool(struct rte_mbuf *mbuf)
{
	return RTE_MBUF_CLONED(mbuf) ? rte_mbuf_from_indirect(mbuf)->pool : mbuf->pool;
}

void *dpdk_shim_memzone(const char *name, size_t *size)
{
	const struct rte_memzone *zone = rte_memzone_lookup(name);

	*size = zone == NULL ? 0 : zone->len;
	return zone == NULL ? NULL : zone->addr;
}

uint64_t dpdk_shim_rdtsc(void)
{
	return rte_rdtsc();
}

int dpdk_shim_errno(void)
{
	return rte_errno;
}

unsigned int dpdk_shim_lcore_id(void)
{
	return rte_lcore_id();
}

/* The stream's cookie is the callback itself, kept in this object, because ISO C has no conversion between
 * function and object pointers. There is one log in a process, so one object is enough. */
static dpdk_shim_log_callback log_callback;

static ssize_t log_write(void *cookie, const char *bytes, size_t size)
{
	dpdk_shim_log_callback callback = *(dpdk_shim_log_callback *)cookie;
	int level = rte_log_cur_msg_loglevel();

	/* Outside of rte_log() there is no current level; what is written then is unusual, so a warning. */
	callback(level < 0 ? RTE_LOG_WARNING : (uint32_t)level, bytes, size);
	return (ssize_t)size;
}

FILE *dpdk_shim_log_stream(dpdk_shim_log_callback callback)
{
	cookie_io_functions_t functions = { .write = log_write };

	log_callback = callback;
	/* Fully buffered by default: rte_vlog() flushes after each message, so one message is one write. */
	return fopencookie(&log_callback, "w", functions);
}
