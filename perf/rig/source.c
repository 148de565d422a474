/* A packet source and sink for measuring switches: the same packets into each of them, for next to nothing.
 *
 * What it is. A library to be loaded with LD_PRELOAD into any program that forwards packets with DPDK. It stands in
 * front of rte_eth_dev_start() and puts callbacks on the queues of net_null devices: the receive callback writes
 * a frame into each (otherwise empty) packet that the device makes up; the transmit callback counts. Everything
 * else it uses is DPDK's public interface.
 *
 * Why this way. A capture file played in a loop by net_pcap needs a packet buffer for each frame, 2 GB for a
 * million flows, and reads it all through the caches that are to be measured. Here the frame is computed in the
 * buffer that the switch receives it in, which has been brought into the cache by receiving it, as a NIC would
 * have brought it there. The cost, about 12 cycles per packet, is inside what is measured for every switch alike.
 *
 * The traffic. 64 bytes of Ethernet, IPv4, UDP and zeros. Which flow a packet belongs to is drawn at random, each
 * flow as likely as any other, and not in turns: a switch that met its flows again in the order in which it
 * learned them would find its memory laid out in that order, which no real traffic grants it. Addresses and
 * ports both differ between flows; the IPv4 header's checksum is right; UDP goes without (RFC 768).
 *
 * Counting. RIG_SHARED names a file of RIG_SHARED_SIZE bytes, shared with whoever measures. Each queue has a
 * sample in it: packets so far, and at that moment the CPU clock of the polling thread and the time stamp
 * counter. It is renewed every SAMPLE_INTERVAL packets, so that the clock costs nothing, under a sequence number,
 * odd while it is being written. Two readings give packets per second of CPU time, whatever else ran meanwhile.
 *
 * Threads. A queue is polled by one thread; its state is that thread's, on a cache line of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define FRAME_SIZE 64
#define PORT_COUNT_MAX 32
#define QUEUE_COUNT_MAX 8
#define RIG_MAGIC 0x50454e53u
/* A millisecond of the fastest switch, and 60 of a very slow one. */
#define SAMPLE_INTERVAL (1u << 16)

struct sample {
	_Atomic uint64_t sequence;
	uint64_t packets;
	uint64_t cpu_ns;
	uint64_t tsc;
	uint64_t thread;
	uint64_t reserved[3];
};

/* The layout of the shared file: perf/rig/source.py reads it. */
struct shared {
	_Atomic uint32_t magic;
	/* Written by the measurer at any time: how many flows, from 1 to 2^24. */
	_Atomic uint32_t flow_count;
	uint64_t tsc_hz;
	uint64_t reserved[6];
	struct sample rx[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
	struct sample tx[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
};

struct queue {
	uint64_t packets;
	uint64_t next_sample;
	uint64_t random;
	struct sample *sample;
} __attribute__((aligned(64)));

static struct shared *shared;
static struct queue rx_queues[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
static struct queue tx_queues[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
/* A frame without what differs between flows, with a checksum that is right where those bytes are zero. */
static uint8_t template[FRAME_SIZE] __attribute__((aligned(64)));

static void die(const char *what)
{
	fprintf(stderr, "rig: %s\n", what);
	abort();
}

static void make_template(void)
{
	static const uint8_t head[] = {
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
		/* IPv4: 50 bytes in all, don't fragment, TTL 64, UDP, from 10.0.0.0 to 172.16.0.0. */
		0x45, 0, 0, FRAME_SIZE - 14, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 0, 172, 16, 0, 0,
		/* UDP: 30 bytes in all, no checksum. */
		0, 0, 0, 0, 0, FRAME_SIZE - 34, 0, 0,
	};
	uint32_t sum = 0;

	memcpy(template, head, sizeof(head));
	for (unsigned int at = 14; at < 34; at += 2)
		sum += (uint32_t)template[at] << 8 | template[at + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	template[24] = (uint8_t)(sum >> 8);
	template[25] = (uint8_t)sum;
}

static inline void put16(uint8_t *at, uint32_t value)
{
	uint16_t big_endian = rte_cpu_to_be_16((uint16_t)value);

	memcpy(at, &big_endian, sizeof(big_endian));
}

/* The frame of one flow. What is added to the sum by the low halves of the two addresses is taken off it by the
 * identification, so that one checksum is right for all. */
static inline void write_frame(uint8_t *frame, uint32_t flow)
{
	uint32_t low = flow & 0xffff, high = flow >> 16;
	uint32_t sum = low + high;

	memcpy(frame, template, FRAME_SIZE);
	put16(frame + 18, ~((sum & 0xffff) + (sum >> 16)));
	put16(frame + 28, low);
	put16(frame + 32, high);
	/* An odd factor: flows that are neighbours by address are not by port. */
	put16(frame + 34, 1024 + (flow * 40503u & 0x7fff));
	put16(frame + 36, 5000 + (high & 0xff));
}

static inline void count(struct queue *queue, uint16_t packets)
{
	struct sample *sample = queue->sample;
	struct timespec now;
	uint64_t sequence;

	queue->packets += packets;
	if (likely(queue->packets < queue->next_sample))
		return;
	queue->next_sample = queue->packets + SAMPLE_INTERVAL;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	sequence = atomic_load_explicit(&sample->sequence, memory_order_relaxed);
	atomic_store_explicit(&sample->sequence, sequence + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	sample->packets = queue->packets;
	sample->cpu_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	sample->tsc = rte_rdtsc();
	sample->thread = (uint64_t)syscall(SYS_gettid);
	atomic_store_explicit(&sample->sequence, sequence + 2, memory_order_release);
}

static uint16_t on_receive(uint16_t port, uint16_t index, struct rte_mbuf **packets, uint16_t len,
			   uint16_t len_max, void *argument)
{
	struct queue *queue = argument;
	uint64_t random = queue->random;
	uint32_t flow_count = atomic_load_explicit(&shared->flow_count, memory_order_relaxed);

	(void)port, (void)index, (void)len_max;
	if (len == 0)
		return 0;
	for (uint16_t at = 0; at < len; at++) {
		/* Knuth's MMIX generator; its upper half, scaled to the number of flows. */
		random = random * 6364136223846793005u + 1442695040888963407u;
		write_frame(rte_pktmbuf_mtod(packets[at], uint8_t *), (uint32_t)(((random >> 32) * flow_count) >> 32));
		packets[at]->data_len = FRAME_SIZE;
		packets[at]->pkt_len = FRAME_SIZE;
	}
	queue->random = random;
	count(queue, len);
	return len;
}

static uint16_t on_transmit(uint16_t port, uint16_t index, struct rte_mbuf **packets, uint16_t len, void *argument)
{
	(void)port, (void)index, (void)packets;
	count(argument, len);
	return len;
}

static void map_shared(void)
{
	const char *path = getenv("RIG_SHARED");
	int file = path ? open(path, O_RDWR) : -1;

	if (file < 0)
		die("RIG_SHARED names no file that can be opened");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (shared == MAP_FAILED)
		die("the file of RIG_SHARED cannot be mapped");
	make_template();
	shared->tsc_hz = rte_get_tsc_hz();
	atomic_store_explicit(&shared->magic, RIG_MAGIC, memory_order_release);
}

static void add_callbacks(uint16_t port)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(port, &info) != 0 || strcmp(info.driver_name, "net_null") != 0)
		return;
	if (port >= PORT_COUNT_MAX || info.nb_rx_queues > QUEUE_COUNT_MAX || info.nb_tx_queues > QUEUE_COUNT_MAX)
		die("too many ports or queues");
	if (!shared)
		map_shared();
	for (uint16_t index = 0; index < info.nb_rx_queues; index++) {
		struct queue *queue = &rx_queues[port][index];

		*queue = (struct queue){ .random = index + 1, .sample = &shared->rx[port][index] };
		if (!rte_eth_add_rx_callback(port, index, on_receive, queue))
			die("no receive callback: was DPDK built without them?");
	}
	for (uint16_t index = 0; index < info.nb_tx_queues; index++) {
		struct queue *queue = &tx_queues[port][index];

		*queue = (struct queue){ .sample = &shared->tx[port][index] };
		if (!rte_eth_add_tx_callback(port, index, on_transmit, queue))
			die("no transmit callback: was DPDK built without them?");
	}
}

/* Stands in front of DPDK's. Callbacks are put in place before the device starts, so none is added to a queue
 * that is being polled. */
int rte_eth_dev_start(uint16_t port)
{
	int (*start)(uint16_t) = (int (*)(uint16_t))dlsym(RTLD_NEXT, "rte_eth_dev_start");

	if (!start)
		die("the program has no rte_eth_dev_start()");
	add_callbacks(port);
	return start(port);
}
