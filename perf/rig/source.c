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
 * ports both differ between flows; the IPv4 header's checksum is right; UDP goes without (RFC 768). Where a port has
 * several queues, a flow belongs to one of them, as a NIC's hash would have it.
 *
 * Other traffic, by what whoever measures asks for (enum kind, enum sizes): frames with a VLAN tag; UDP with a
 * checksum, for switches that have to keep it right; many destinations; longer frames, of whose bytes only the first
 * 64 are written, as nobody looks at more; and flows that are not equally likely, whose draws come from a file that
 * RIG_DRAWS names, a list read in line and then anew: 4 bytes, for which the processor does not wait.
 * Plain traffic does not pay for these: it has a loop of its own.
 *
 * Counting. RIG_SHARED names a file of sizeof(struct shared) bytes, shared with whoever measures. Each queue has a
 * sample in it: packets so far, and at that moment the CPU clock of the polling thread and the time stamp
 * counter. It is renewed every SAMPLE_INTERVAL packets, so that the clock costs nothing, under a sequence number,
 * odd while it is being written. Two readings give packets per second of CPU time, whatever else ran meanwhile.
 * With it goes one frame of that moment as it is, so that the measurer can see what comes out. The count alone is
 * there at any time: once a switch is stopped, what came in must have gone out.
 *
 * Threads. A queue is polled by one thread; its state is that thread's, on a cache line of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
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

/* What is written of a frame, and how long most of them are. */
#define FRAME_SIZE 64
#define PORT_COUNT_MAX 32
#define QUEUE_COUNT_MAX 8
#define RIG_MAGIC 0x50454e53u
/* A millisecond of the fastest switch, and 60 of a very slow one. */
#define SAMPLE_INTERVAL (1u << 16)
/* What is kept of a frame to be looked at: the source's, with room for what a switch puts in front. */
#define SEEN_SIZE 128
/* Flows in the list of draws, if there is one. */
#define LIST_LEN (1u << 23)

/* Traffic that is not plain. */
enum kind {
	/* 802.1Q, VLAN 100 */
	KIND_TAGGED = 1,
	/* UDP has a checksum; not for frames whose payload is not written. */
	KIND_CHECKSUM = 2,
	/* Numbers of flows are scattered, so that few have many destinations, and not many sources. */
	KIND_ROUTED = 4,
	/* Flows come from the list of draws. */
	KIND_LISTED = 8,
};

enum sizes { SIZES_64, SIZES_1514, SIZES_IMIX };

struct sample {
	_Atomic uint64_t sequence;
	uint64_t packets;
	uint64_t cpu_ns;
	uint64_t tsc;
	uint64_t thread;
	/* The bursts in which samples were taken: their packets and bytes so far. */
	uint64_t seen_packets;
	uint64_t seen_bytes;
	/* The first packet of the last of them. */
	uint64_t frame_size;
	uint8_t frame[SEEN_SIZE];
	/* Packets up to now, after each burst, on a line of their own. */
	_Atomic uint64_t total;
	uint64_t reserved[7];
};

/* The layout of the shared file: perf/rig/source.py reads it. */
struct shared {
	_Atomic uint32_t magic;
	/* Written by the measurer at any time: how many flows, from 1 to 2^24, or how much of the list. */
	_Atomic uint32_t extent;
	uint64_t tsc_hz;
	/* Written by the measurer: enum kind, enum sizes. */
	_Atomic uint32_t kind;
	_Atomic uint32_t sizes;
	/* And from where on, if flows are listed. */
	_Atomic uint32_t first;
	uint32_t reserved[9];
	struct sample rx[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
	struct sample tx[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
};

struct queue {
	uint64_t packets;
	uint64_t next_sample;
	uint64_t random;
	struct sample *sample;
	uint32_t index;
	/* Receive queues of its port. */
	uint32_t count;
	uint32_t next_draw;
} __attribute__((aligned(64)));

/* A frame without what differs between flows, with a checksum that is right where those bytes are zero. */
struct template {
	uint8_t bytes[FRAME_SIZE];
	uint16_t size;
	/* Where the IPv4 header begins. */
	uint16_t ip;
	/* What the UDP checksum is over, but for what differs between flows. */
	uint32_t udp_sum;
} __attribute__((aligned(64)));

static struct shared *shared;
static struct queue rx_queues[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
static struct queue tx_queues[PORT_COUNT_MAX][QUEUE_COUNT_MAX];
static const uint32_t *draws;

enum { TEMPLATE_64, TEMPLATE_590, TEMPLATE_1514, TEMPLATE_COUNT };
/* Without a tag, and with one. */
static struct template templates[2][TEMPLATE_COUNT];
/* What is drawn from, by enum sizes. IMIX: 7 of 64 bytes, 4 of 590, 1 of 1514 (IPv4 of 576 and 1500). */
static const uint8_t mixes[][12] = {
	[SIZES_64] = { 0 },
	[SIZES_1514] = { 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2 },
	[SIZES_IMIX] = { 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 2, 0 },
};

static void die(const char *what)
{
	fprintf(stderr, "rig: %s\n", what);
	abort();
}

static inline void put16(uint8_t *at, uint32_t value)
{
	uint16_t big_endian = rte_cpu_to_be_16((uint16_t)value);

	memcpy(at, &big_endian, sizeof(big_endian));
}

/* The ones' complement sum, folded (RFC 1071). */
static inline uint32_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static uint32_t sum_of(const uint8_t *bytes, unsigned int size)
{
	uint32_t sum = 0;

	for (unsigned int at = 0; at < size; at += 2)
		sum += (uint32_t)bytes[at] << 8 | bytes[at + 1];
	return sum;
}

static void make_template(struct template *template, bool is_tagged, uint16_t size)
{
	static const uint8_t addresses[] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };
	static const uint8_t tag[] = { 0x81, 0x00, 0, 100 };
	/* EtherType; IPv4: don't fragment, TTL 64, UDP, from 10.0.0.0 to 172.16.0.0. */
	static const uint8_t rest[] = { 0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 0, 172, 16, 0, 0 };
	uint8_t *ip;

	*template = (struct template){ .size = size, .ip = is_tagged ? 18 : 14 };
	ip = template->bytes + template->ip;
	memcpy(template->bytes, addresses, sizeof(addresses));
	if (is_tagged)
		memcpy(template->bytes + 12, tag, sizeof(tag));
	memcpy(ip - 2, rest, sizeof(rest));
	put16(ip + 2, size - template->ip);
	put16(ip + 24, size - template->ip - 20u);
	put16(ip + 10, ~fold(sum_of(ip, 20)));
	/* The pseudo header's addresses and protocol, and the length twice (RFC 768). */
	template->udp_sum = sum_of(ip + 12, 8) + 17 + 2 * (size - template->ip - 20u);
}

static void make_templates(void)
{
	static const uint16_t sizes[TEMPLATE_COUNT] = { 64, 590, 1514 };

	for (unsigned int at = 0; at < TEMPLATE_COUNT; at++) {
		make_template(&templates[0][at], false, sizes[at]);
		make_template(&templates[1][at], true, sizes[at]);
	}
}

/* The frame of one flow. What is added to the sum by the low halves of the two addresses is taken off it by the
 * identification, so that one checksum is right for all. */
static inline void write_frame(uint8_t *frame, const struct template *template, uint16_t at, uint32_t source,
			       uint32_t destination, uint32_t source_port, uint32_t destination_port)
{
	uint8_t *ip = frame + at;

	memcpy(frame, template->bytes, FRAME_SIZE);
	put16(ip + 4, ~fold(source + destination));
	put16(ip + 14, source);
	put16(ip + 18, destination);
	put16(ip + 20, source_port);
	put16(ip + 22, destination_port);
}

/* An odd factor: flows that are neighbours by address are not by port. */
static inline uint32_t source_port(uint32_t flow)
{
	return 1024 + (flow * 40503u & 0x7fff);
}

static inline uint32_t destination_port(uint32_t high)
{
	return 5000 + (high & 0xff);
}

/* A frame of a flow of any kind; returns its size. */
static inline uint16_t write_any(uint8_t *frame, uint32_t flow, uint32_t kind, const struct template *template)
{
	uint32_t low, high, source, destination, sum;

	/* An odd factor, so that no two flows become one. */
	if (kind & KIND_ROUTED)
		flow = flow * 0x9e3779b1u & 0xffffff;
	low = flow & 0xffff, high = flow >> 16;
	source = kind & KIND_ROUTED ? high : low;
	destination = kind & KIND_ROUTED ? low : high;
	write_frame(frame, template, template->ip, source, destination, source_port(flow), destination_port(high));
	if (kind & KIND_CHECKSUM) {
		sum = template->udp_sum + source + destination + source_port(flow) + destination_port(high);
		sum = ~fold(sum) & 0xffff;
		/* 0 would say that there is none. */
		put16(frame + template->ip + 26, sum ? sum : 0xffff);
	}
	return template->size;
}

/* Knuth's MMIX generator. Its upper half counts. */
static inline uint64_t next_random(uint64_t random)
{
	return random * 6364136223846793005u + 1442695040888963407u;
}

static inline uint32_t scaled(uint64_t random, uint32_t count)
{
	return (uint32_t)(((random >> 32) * count) >> 32);
}

static void write_plain(struct queue *queue, struct rte_mbuf **packets, uint16_t len, uint32_t flow_count)
{
	const struct template *template = &templates[0][TEMPLATE_64];
	uint64_t random = queue->random;

	for (uint16_t at = 0; at < len; at++) {
		uint32_t flow, low, high;

		random = next_random(random);
		flow = scaled(random, flow_count), low = flow & 0xffff, high = flow >> 16;
		write_frame(rte_pktmbuf_mtod(packets[at], uint8_t *), template, 14, low, high, source_port(flow),
			    destination_port(high));
		packets[at]->data_len = FRAME_SIZE;
		packets[at]->pkt_len = FRAME_SIZE;
	}
	queue->random = random;
}

static inline uint32_t next_draw(struct queue *queue, uint32_t first, uint32_t extent)
{
	uint32_t at = queue->next_draw < extent ? queue->next_draw : 0;

	queue->next_draw = at + 1;
	return draws[first + at];
}

static void write_others(struct queue *queue, struct rte_mbuf **packets, uint16_t len, uint32_t extent, uint32_t kind)
{
	const struct template *of_sizes = templates[!!(kind & KIND_TAGGED)];
	const uint8_t *mix = mixes[atomic_load_explicit(&shared->sizes, memory_order_relaxed)];
	/* Flows of a queue are those whose number leaves its index as a remainder. */
	uint32_t flow_count = (extent + queue->count - 1 - queue->index) / queue->count;
	uint32_t first = atomic_load_explicit(&shared->first, memory_order_relaxed);
	uint64_t random = queue->random;

	if (kind & KIND_LISTED && (!draws || first > LIST_LEN || extent > LIST_LEN - first || queue->count > 1))
		die("no list of so many draws, or too many queues for one");
	for (uint16_t at = 0; at < len; at++) {
		const struct template *template;
		uint32_t flow;

		random = next_random(random);
		if (kind & KIND_LISTED)
			flow = next_draw(queue, first, extent);
		else
			flow = scaled(random, flow_count) * queue->count + queue->index;
		/* Other bits than those that the flow is drawn by. */
		template = &of_sizes[mix[(random >> 16 & 0xffff) * 12 >> 16]];
		packets[at]->data_len = write_any(rte_pktmbuf_mtod(packets[at], uint8_t *), flow, kind, template);
		packets[at]->pkt_len = packets[at]->data_len;
	}
	queue->random = random;
}

/* Keeps a frame, and how long those of this burst are. */
static void see(struct sample *sample, struct rte_mbuf **packets, uint16_t len)
{
	uint16_t size = RTE_MIN(packets[0]->data_len, SEEN_SIZE);

	for (uint16_t at = 0; at < len; at++)
		sample->seen_bytes += packets[at]->pkt_len;
	sample->seen_packets += len;
	sample->frame_size = packets[0]->pkt_len;
	memcpy(sample->frame, rte_pktmbuf_mtod(packets[0], uint8_t *), size);
}

static inline void count(struct queue *queue, struct rte_mbuf **packets, uint16_t len)
{
	struct sample *sample = queue->sample;
	struct timespec now;
	uint64_t sequence;

	queue->packets += len;
	atomic_store_explicit(&sample->total, queue->packets, memory_order_relaxed);
	if (likely(queue->packets < queue->next_sample) || len == 0)
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
	see(sample, packets, len);
	atomic_store_explicit(&sample->sequence, sequence + 2, memory_order_release);
}

static uint16_t on_receive(uint16_t port, uint16_t index, struct rte_mbuf **packets, uint16_t len,
			   uint16_t len_max, void *argument)
{
	struct queue *queue = argument;
	uint32_t extent = atomic_load_explicit(&shared->extent, memory_order_relaxed);
	uint32_t kind = atomic_load_explicit(&shared->kind, memory_order_relaxed);
	uint32_t sizes = atomic_load_explicit(&shared->sizes, memory_order_relaxed);

	(void)port, (void)index, (void)len_max;
	if (len == 0)
		return 0;
	if (likely(kind == 0 && sizes == SIZES_64 && queue->count == 1))
		write_plain(queue, packets, len, extent);
	else
		write_others(queue, packets, len, extent, kind);
	count(queue, packets, len);
	return len;
}

static uint16_t on_transmit(uint16_t port, uint16_t index, struct rte_mbuf **packets, uint16_t len, void *argument)
{
	(void)port, (void)index;
	count(argument, packets, len);
	return len;
}

static void map_draws(void)
{
	const char *path = getenv("RIG_DRAWS");
	int file = path ? open(path, O_RDONLY) : -1;

	if (file < 0)
		return;
	draws = mmap(NULL, LIST_LEN * sizeof(*draws), PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
	close(file);
	if (draws == MAP_FAILED)
		die("the file of RIG_DRAWS cannot be mapped");
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
	make_templates();
	map_draws();
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

		*queue = (struct queue){
			.random = index + 1,
			.sample = &shared->rx[port][index],
			.index = index,
			.count = info.nb_rx_queues,
		};
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
