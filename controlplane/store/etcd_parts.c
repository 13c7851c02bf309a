// SPDX-License-Identifier: Apache-2.0
/*
 * A batch is put where its keys are: each shard gets its part first, all of
 * them at once, and the system's segment names them. A shard that takes its
 * time is not waited for: it is SLOW then, its transactions wait for it alone,
 * and the others' are done without them.
 */
#include "controlplane/store/etcd_shard.h"

static int sort_out(struct etcd *c, struct object_bytes **v, size_t nr,
		    struct object_bytes **by_id[SHARDS_MAX],
		    size_t count[SHARDS_MAX], struct err *e)
{
	for (size_t i = 0; i < nr; i++) {
		int id = shards_place(c, v[i]->key);

		if (id < 0 || id >= SHARDS_MAX)
			id = 0;
		if (!by_id[id])
			by_id[id] =
				calloc(nr - i, sizeof(struct object_bytes *));
		if (!by_id[id])
			return err_set(e, -ENOMEM, "etcd: out of memory");
		by_id[id][count[id]++] = v[i];
	}
	return 0;
}

static struct shard_job *put_job(struct etcd *c, struct shard *sh,
				 struct object_bytes **v, size_t nr,
				 struct seg *seg, struct err *e)
{
	auto_ptr(shard_job) job = shard_job_new(SHARD_PUT);
	uint64_t first = v[0]->revision, last = v[nr - 1]->revision;

	if (!job)
		return NULL;
	*seg = (struct seg){ .first = first,
			     .last = last,
			     .batch = c->batch,
			     .nr = (uint32_t)nr,
			     .has = calloc(1, (last - first) / 8 + 1) };
	job->keys = shard_key(sh, first, c->batch);
	if (!job->keys || !seg->has ||
	    etcd_build_segment(&sh->c, c->batch, NULL, 0, v, nr, first, last,
			       &job->data, e) < 0)
		return NULL;
	for (size_t i = 0; i < nr; i++)
		etcd_seg_has(seg, v[i]->revision);
	if (nr == last - first + 1) {
		free(seg->has); /* all of them */
		seg->has = NULL;
	}
	return take_ptr(job);
}

static void add_ref(struct etcd_parts *p, int id, const struct seg *seg,
		    uint64_t at)
{
	p->segs[p->nr_refs] = *seg;
	p->refs[p->nr_refs++] = (struct segment_ref){ .cluster = (uint32_t)id,
						      .nr = seg->nr,
						      .batch = seg->batch,
						      .first = seg->first,
						      .last = seg->last,
						      .at = at };
}

/* Unless it has answered just now. */
static void is_slow(struct etcd *c, struct shard *sh, struct shard_job *job)
{
	pthread_mutex_lock(&sh->c.lock);
	if (!shard_job_done(c, job) && sh->state == SHARD_READY)
		sh->state = SHARD_SLOW;
	pthread_mutex_unlock(&sh->c.lock);
}

/* One that takes longer than others is given more the next time, or nothing
 * would ever be done there. It rests in between. */
static uint32_t patience_for(struct shard *sh)
{
	uint64_t ms = sh ? atomic_load(&sh->took_ms) * 2 : 0;

	if (ms < SHARD_PATIENCE_MS)
		return SHARD_PATIENCE_MS;
	return ms < SHARD_TIMEOUT_MS ? (uint32_t)ms : SHARD_TIMEOUT_MS;
}

int etcd_parts_put(struct etcd *c, struct object_bytes **v, size_t nr,
		   struct etcd_parts *ret, struct err *e)
{
	struct object_bytes **by_id[SHARDS_MAX] = { NULL };
	struct shard_job *jobs[SHARDS_MAX] = { NULL };
	size_t count[SHARDS_MAX] = { 0 };
	struct seg segs[SHARDS_MAX];
	uint64_t begin = mono_ms(), waited;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (nr) {
		ret->first = v[0]->revision;
		ret->last = v[nr - 1]->revision;
	}
	r = sort_out(c, v, nr, by_id, count, e);
	for (int id = 1; id < SHARDS_MAX && r == 0; id++) {
		struct shard *sh = count[id] ? shards_get(c, id) : NULL;

		if (!count[id])
			continue;
		if (!sh) {
			r = err_set(e, -EAGAIN, "storage cluster %d is gone",
				    id);
			break;
		}
		jobs[id] = put_job(c, sh, by_id[id], count[id], &segs[id], e);
		if (jobs[id])
			shard_post(sh, jobs[id]);
		else
			r = e && e->code ? e->code : -ENOMEM;
	}
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = jobs[id] ? shards_get(c, id) : NULL;

		uint32_t patience = patience_for(sh);

		if (!jobs[id])
			continue;
		waited = mono_ms() - begin;
		patience = r || waited > patience ? 0 : patience - waited;
		if (shard_wait(c, &jobs[id], 1, patience) < 0) {
			if (sh)
				is_slow(c, sh, jobs[id]);
			r = r ? r
			      : err_set(e, -EAGAIN,
					"storage cluster %d does not answer",
					id);
		} else if (jobs[id]->result < 0) {
			r = r ? r
			      : err_set(e, -EAGAIN, "%s", jobs[id]->err.msg);
		}
		add_ref(ret, id, &segs[id], jobs[id]->revision);
		shard_job_unref(jobs[id]);
	}
	ret->own = by_id[0];
	ret->nr_own = count[0];
	by_id[0] = NULL;
	for (int id = 1; id < SHARDS_MAX; id++)
		free(by_id[id]);
	if (r < 0) {
		etcd_parts_drop(c, ret);
		etcd_parts_clear(ret);
	}
	return r;
}

int etcd_parts_know(struct etcd *c, struct etcd_parts *p, struct err *e)
{
	struct seg own = { .first = p->first,
			   .last = p->last,
			   .batch = c->batch,
			   .nr = (uint32_t)p->nr_own,
			   .refs = (uint32_t)p->nr_refs };
	struct seg *s;
	int r = p->first ? etcd_seg_add(c, &own) : 0;

	s = p->first && r == 0 ? etcd_seg_find(c, p->first) : NULL;
	for (size_t i = 0; s && i < p->nr_own; i++)
		etcd_seg_has(s, p->own[i]->revision);
	for (size_t i = 0; i < p->nr_refs && r == 0; i++) {
		struct shard *sh = shards_get(c, (int)p->refs[i].cluster);

		if (!sh)
			return err_set(e, -EAGAIN, "etcd: a cluster is gone");
		r = etcd_seg_add(&sh->c, &p->segs[i]);
		p->segs[i].has = NULL;
		atomic_store(&sh->used, true);
	}
	return r < 0 ? err_set(e, r, "etcd: out of memory") : 0;
}

/* To be collected; a shard that has not answered yet may come to have it later
 * than that: then with the next start. */
void etcd_parts_drop(struct etcd *c, struct etcd_parts *p)
{
	for (size_t i = 0; i < p->nr_refs; i++) {
		struct shard *sh = shards_get(c, (int)p->refs[i].cluster);
		auto_free char *key = NULL;

		if (!sh)
			continue;
		etcd_seg_forget(&sh->c, p->refs[i].first, p->refs[i].batch);
		key = shard_key(sh, p->refs[i].first, p->refs[i].batch);
		if (!key || buf_error(&sh->orphans))
			continue;
		buf_add(&sh->orphans, key, strlen(key) + 1);
		sh->nr_orphans++;
	}
}

void etcd_parts_clear(struct etcd_parts *p)
{
	free(p->own);
	for (size_t i = 0; i < p->nr_refs; i++)
		free(p->segs[i].has);
	memset(p, 0, sizeof(*p));
}
