// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/websocket.h"

enum { HEAD, PAYLOAD, DEAD };

void ws_init(struct ws *w, enum ws_side side)
{
	*w = (struct ws){ .side = side, .state = HEAD };
}

static bool is_control(enum ws_op op)
{
	return op & 8;
}

/* How long the head is, as far as its first two bytes say. */
static size_t head_size(const struct ws *w)
{
	size_t n = 2;

	if (w->head_len < 2)
		return 2;
	if ((w->head[1] & 127) == 126)
		n += 2;
	else if ((w->head[1] & 127) == 127)
		n += 8;
	return n + (w->head[1] & 128 ? 4 : 0);
}

static uint64_t big_endian(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static int check_op(struct ws *w, struct err *e)
{
	switch (w->op) {
	case WS_CONTINUED:
		if (!w->message)
			return err_set(e, -EBADMSG,
				       "WebSocket: a piece of no message");
		return 0;
	case WS_TEXT:
	case WS_BINARY:
		if (w->message)
			return err_set(e, -EBADMSG,
				       "WebSocket: a message within another");
		w->message = w->op;
		w->begun = false;
		return 0;
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG:
		if (!w->fin || w->left > WS_CONTROL_MAX)
			return err_set(e, -EBADMSG,
				       "WebSocket: a control frame that is "
				       "long or in pieces");
		return 0;
	default:
		return err_set(e, -EBADMSG, "WebSocket: unknown opcode %d",
			       w->op);
	}
}

/* The head is complete. */
static int take_head(struct ws *w, struct err *e)
{
	unsigned int code = w->head[1] & 127;
	bool masked = w->head[1] & 128;
	size_t n = 2;

	if (w->head[0] & 0x70)
		return err_set(e, -EBADMSG, "WebSocket: reserved bits are set");
	if (masked != (w->side == WS_SERVER))
		return err_set(e, -EBADMSG, "WebSocket: %s",
			       masked ? "a server must not mask"
				      : "a client must mask");
	w->fin = w->head[0] & 128;
	w->op = w->head[0] & 15;
	w->left = code;
	if (code >= 126) {
		size_t size = code == 126 ? 2 : 8;

		w->left = big_endian(w->head + 2, size);
		n += size;
		if (w->left < (size == 2 ? 126 : 65536) || w->left >> 63)
			return err_set(e, -EBADMSG, "WebSocket: bad length");
	}
	if (masked)
		memcpy(w->mask, w->head + n, 4);
	w->mask_at = 0;
	w->control_len = 0;
	w->head_len = 0;
	w->state = PAYLOAD;
	return check_op(w, e);
}

static void unmask(struct ws *w, char *data, size_t len)
{
	if (w->side != WS_SERVER)
		return;
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(data[i] ^ w->mask[(w->mask_at + i) & 3]);
	w->mask_at = (w->mask_at + len) & 3;
}

static int end_control(struct ws *w, struct ws_piece *ret, struct err *e)
{
	w->state = HEAD;
	*ret = (struct ws_piece){ .op = w->op,
				  .first = true,
				  .last = true,
				  .data = w->control,
				  .len = w->control_len };
	if (w->op == WS_PING)
		return WS_PINGED;
	if (w->op == WS_PONG)
		return WS_PONGED;
	if (w->control_len == 1)
		return err_set(e, -EBADMSG, "WebSocket: half a close code");
	w->state = DEAD;
	return WS_CLOSED;
}

static int take_payload(struct ws *w, char *data, size_t len, size_t *used,
			struct ws_piece *ret, struct err *e)
{
	size_t n = len < w->left ? len : (size_t)w->left;

	unmask(w, data, n);
	*used += n;
	w->left -= n;
	if (is_control(w->op)) {
		memcpy(w->control + w->control_len, data, n);
		w->control_len += n;
		return w->left ? WS_MORE : end_control(w, ret, e);
	}
	*ret = (struct ws_piece){ .op = w->message,
				  .first = !w->begun,
				  .last = w->fin && !w->left,
				  .data = data,
				  .len = n };
	if (!w->left)
		w->state = HEAD;
	if (!n && !ret->last)
		return WS_MORE; /* it says nothing */
	w->begun = true;
	if (ret->last)
		w->message = 0;
	return WS_PIECE;
}

int ws_next(struct ws *w, char *data, size_t len, size_t *ret_used,
	    struct ws_piece *ret, struct err *e)
{
	size_t used = 0;
	int r = WS_MORE;

	while (r == WS_MORE) {
		if (w->state == DEAD)
			used = len; /* nothing counts after a close */
		if (w->state == PAYLOAD && (used < len || !w->left)) {
			r = take_payload(w, data + used, len - used, &used, ret,
					 e);
			continue;
		}
		if (used == len)
			break;
		w->head[w->head_len++] = (unsigned char)data[used++];
		if (w->head_len >= 2 && w->head_len == head_size(w))
			r = take_head(w, e);
	}
	if (r < 0)
		w->state = DEAD;
	*ret_used = used;
	return r;
}

/* --- out ------------------------------------------------------------------ */

static void put_masked(struct buf *b, const void *data, size_t len,
		       const unsigned char *mask, size_t *at)
{
	const unsigned char *p = data;
	char *to = buf_reserve(b, len + 1);

	if (!to)
		return;
	for (size_t i = 0; i < len; i++)
		to[i] = (char)(p[i] ^ mask[(*at + i) & 3]);
	*at += len;
	buf_commit(b, len);
}

void ws_put2(struct buf *b, enum ws_side side, enum ws_op op, const void *head,
	     size_t head_len, const void *data, size_t len)
{
	uint64_t sum = (uint64_t)head_len + len;
	char bit = side == WS_CLIENT ? (char)128 : 0;
	unsigned char mask[4] = { 0 };
	size_t at = 0;

	buf_putc(b, (char)(128 | op));
	if (sum < 126) {
		buf_putc(b, (char)(bit | (char)sum));
	} else if (sum < 65536) {
		buf_putc(b, (char)(bit | 126));
		buf_putc(b, (char)(sum >> 8));
		buf_putc(b, (char)sum);
	} else {
		buf_putc(b, (char)(bit | 127));
		for (int i = 56; i >= 0; i -= 8)
			buf_putc(b, (char)(sum >> i));
	}
	if (side == WS_SERVER) {
		buf_add(b, head, head_len);
		buf_add(b, data, len);
		return;
	}
	(void)RAND_bytes(mask, sizeof(mask)); /* zero does no harm to us */
	buf_add(b, mask, sizeof(mask));
	put_masked(b, head, head_len, mask, &at);
	put_masked(b, data, len, mask, &at);
}

void ws_put(struct buf *b, enum ws_side side, enum ws_op op, const void *data,
	    size_t len)
{
	ws_put2(b, side, op, "", 0, data, len);
}

void ws_put_close(struct buf *b, enum ws_side side, uint16_t code,
		  const char *reason)
{
	const char head[2] = { (char)(code >> 8), (char)code };
	size_t len = strlen(reason);

	if (len > WS_CONTROL_MAX - 2)
		len = WS_CONTROL_MAX - 2;
	ws_put2(b, side, WS_CLOSE, head, 2, reason, len);
}

/* --- keys ----------------------------------------------------------------- */

int ws_accept(const char *key, char ret[WS_KEY_TEXT])
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char raw[24], text[24 + sizeof(magic)], sum[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (strlen(key) != 24 ||
	    EVP_DecodeBlock(raw, (const unsigned char *)key, 24) != 18 ||
	    memcmp(key + 22, "==", 2) != 0)
		return -EINVAL;
	memcpy(text, key, 24);
	memcpy(text + 24, magic, sizeof(magic) - 1);
	if (EVP_Digest(text, 24 + sizeof(magic) - 1, sum, &len, EVP_sha1(),
		       NULL) != 1)
		return -EINVAL;
	EVP_EncodeBlock((unsigned char *)ret, sum, (int)len);
	return 0;
}

void ws_make_key(char ret[WS_KEY_TEXT])
{
	unsigned char raw[16] = { 0 };

	(void)RAND_bytes(raw, sizeof(raw)); /* any sixteen bytes will do */
	EVP_EncodeBlock((unsigned char *)ret, raw, sizeof(raw));
}
