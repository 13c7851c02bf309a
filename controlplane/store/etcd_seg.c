// SPDX-License-Identifier: Apache-2.0
/*
 * Which records of which segment are dead, and giving their room back: a
 * segment without live ones is deleted, one in which most are dead is written
 * again without them. Both only after the head says that they are compacted.
 */
#include "controlplane/store/etcd.h"
#include "controlplane/store/record.h"
#include "controlplane/store/segment.h"

#define LOOK_MAX   512 /* segments looked at between two commits */
#define DELETE_MAX 64  /* deleted with one transaction */

/* The last segment that begins at or before @revision. */
static struct seg *find(struct etcd *c, uint64_t revision)
{
	size_t lo = 0, hi = c->nr_segs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->segs[mid].first <= revision)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &c->segs[lo - 1] : NULL;
}

int etcd_seg_add(struct etcd *c, uint64_t first, uint64_t last, uint32_t nr)
{
	struct seg *s = find(c, first);

	if (last - first > 1u << 24)
		return -EBADMSG;
	if (s && s->first == first) {
		/* Tried before, or written by another after all. */
		free(s->dead);
	} else {
		if (c->nr_segs == c->segs_size) {
			size_t size = c->segs_size ? c->segs_size * 2 : 1024;

			s = realloc(c->segs, size * sizeof(*s));
			if (!s)
				return -ENOMEM;
			c->segs = s;
			c->segs_size = size;
		}
		s = find(c, first);
		s = s ? s + 1 : c->segs;
		memmove(s + 1, s,
			(size_t)(c->segs + c->nr_segs - s) * sizeof(*s));
		c->nr_segs++;
	}
	*s = (struct seg){ .first = first, .last = last, .nr = nr };
	return 0;
}

void etcd_segs_clear(struct etcd *c)
{
	for (size_t i = 0; i < c->nr_segs; i++)
		free(c->segs[i].dead);
	c->nr_segs = c->gc_at = 0;
}

void etcd_seg_dead(struct etcd *c, uint64_t revision)
{
	struct seg *s = find(c, revision);
	uint64_t bit;

	if (!s || revision > s->last)
		return;
	bit = revision - s->first;
	if (!s->dead)
		s->dead = calloc(1, (s->last - s->first) / 8 + 1);
	/* Out of memory: it is kept until the next start. */
	if (!s->dead || s->dead[bit / 8] & 1 << bit % 8)
		return;
	s->dead[bit / 8] |= (uint8_t)(1 << bit % 8);
	s->nr_dead++;
}

static bool is_dead(const struct seg *s, uint64_t revision)
{
	uint64_t bit = revision - s->first;

	return s->dead && s->dead[bit / 8] & 1 << bit % 8;
}

static int ignore_pair(void *arg, const struct etcd_kv *kv)
{
	(void)arg, (void)kv;
	return 0;
}

static bool delete_whole(struct etcd *c, struct seg **v, size_t nr)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a;

	for (size_t i = 0; i < nr; i++) {
		auto_free char *key = etcd_log_key(c, v[i]->first);

		if (!key)
			return false;
		etcd_do_delete(&q, ETCD_THEN, key, NULL);
	}
	if (etcd_call(c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, NULL) ||
	    etcd_read_txn(&reply, &a, ignore_pair, NULL))
		return false;
	for (size_t i = nr; i--;) {
		free(v[i]->dead);
		memmove(v[i], v[i] + 1,
			(size_t)(c->segs + c->nr_segs - v[i] - 1) *
				sizeof(*v[i]));
		c->nr_segs--;
	}
	return true;
}

struct rewrite {
	struct etcd *c;
	const struct seg *seg; /* NULL: nothing is dead */
	struct buf out;
	uint64_t mod, first;
	uint32_t nr;
	bool sealed_anew;
	struct err *e;
};

static int copy_record(struct rewrite *w, const struct segment_record *rec)
{
	struct object_bytes *o = NULL;
	auto_free void *sealed = NULL;
	size_t size;
	int r;

	w->nr++;
	if (w->seg || record_is_current(rec->data, rec->len, w->c->base.keys)) {
		segment_add(&w->out, rec->revision, rec->data, rec->len);
		return 0;
	}
	r = record_decode(rec->data, rec->len, rec->revision, w->c->base.keys,
			  "etcd", &o, w->e);
	if (r < 0)
		return r;
	size = record_size(o, w->c->base.keys);
	sealed = malloc(size);
	r = sealed ? record_encode(o, w->c->base.keys, sealed) : -ENOMEM;
	object_unref(o);
	if (r == 0)
		segment_add(&w->out, rec->revision, sealed, size);
	w->sealed_anew = true;
	return r;
}

static int copy_segment(void *arg, const struct etcd_kv *kv)
{
	struct rewrite *w = arg;
	struct segment_record rec;
	struct segment_in in;
	int r = segment_open(&in, kv->value, kv->value_len);

	if (r < 0)
		return r;
	w->mod = kv->mod_revision;
	w->first = in.head.first;
	w->nr = 0;
	buf_reset(&w->out);
	segment_begin(&w->out, in.head.batch, in.head.first, in.head.last);
	while (r >= 0 && (r = segment_next(&in, &rec)) > 0)
		if (!w->seg || !is_dead(w->seg, rec.revision))
			r = copy_record(w, &rec);
	return r < 0 ? r : buf_error(&w->out);
}

/* 1: written; 0: somebody else has changed it. */
static int put_back(struct rewrite *w, const char *key)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a = { 0 };
	int r;

	etcd_if_mod(&q, key, w->mod);
	etcd_do_put(&q, ETCD_THEN, key, w->out.data, w->out.len, 0);
	r = etcd_call(w->c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, w->e);
	if (r == 0)
		r = etcd_read_txn(&reply, &a, ignore_pair, NULL);
	return r < 0 ? r : a.succeeded;
}

static int get_segment(struct rewrite *w, const char *key)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a;
	int r;

	etcd_range_request(&q, &(struct etcd_range){ .key = key });
	w->mod = 0;
	r = etcd_call(w->c, "/etcdserverpb.KV/Range", &q, &reply, NULL, w->e);
	return r < 0 ? r : etcd_read_range(&reply, &a, copy_segment, w);
}

static bool shrink(struct etcd *c, struct seg *s)
{
	auto_free char *key = etcd_log_key(c, s->first);
	struct rewrite w = { .c = c, .seg = s };
	bool done = false;

	if (key && get_segment(&w, key) == 0 && w.mod &&
	    put_back(&w, key) > 0) {
		/* Bits of what is no longer there stay: they cannot be told
		 * again. */
		s->nr = w.nr;
		s->nr_dead = 0;
		done = true;
	}
	buf_clear(&w.out);
	return done;
}

bool etcd_tidy(struct store_backend *b, uint64_t live_bytes)
{
	struct etcd *c = (struct etcd *)b;
	struct seg *whole[DELETE_MAX];
	size_t nr = 0, at, looked;

	(void)live_bytes;
	if (!atomic_load(&c->collects) || !c->nr_segs)
		return false;
	for (looked = 0; looked < LOOK_MAX && looked < c->nr_segs; looked++) {
		struct seg *s;

		at = c->gc_at++ % c->nr_segs;
		if (!at)
			c->gc_at = 1;
		s = &c->segs[at];
		/* In the order of the array, for delete_whole(). */
		if (s->nr_dead >= s->nr) {
			if (nr && s <= whole[nr - 1])
				break;
			whole[nr++] = s;
			if (nr == DELETE_MAX)
				break;
		} else if (s->nr_dead * 2 > s->nr && !nr) {
			return shrink(c, s);
		}
	}
	return nr && delete_whole(c, whole, nr);
}

int etcd_reencrypt(struct store_backend *b, uint64_t *ret_nr, struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	struct rewrite w = { .c = c, .e = e };
	uint64_t at = 0;
	int r = 0;

	*ret_nr = 0;
	while (r == 0) {
		auto_buf struct buf q = BUF_INIT;
		auto_buf struct buf reply = BUF_INIT;
		auto_free char *from = etcd_log_key(c, at);
		auto_free char *key = NULL;
		struct etcd_answer a;

		if (!from)
			r = -ENOMEM;
		etcd_range_request(&q, &(struct etcd_range){ .key = from,
							     .end = c->log_end,
							     .limit = 1 });
		w.mod = 0;
		w.sealed_anew = false;
		if (r == 0)
			r = etcd_call(c, "/etcdserverpb.KV/Range", &q, &reply,
				      NULL, e);
		if (r == 0)
			r = etcd_read_range(&reply, &a, copy_segment, &w);
		if (r < 0 || !w.mod)
			break;
		key = etcd_log_key(c, w.first);
		if (w.sealed_anew) {
			r = key ? put_back(&w, key) : -ENOMEM;
			if (r == 0)
				continue; /* changed meanwhile: again */
			*ret_nr += r > 0 ? w.nr : 0;
		}
		r = r < 0 ? r : 0;
		at = w.first + 1;
	}
	buf_clear(&w.out);
	return r;
}
