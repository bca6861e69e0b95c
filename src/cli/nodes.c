/* nodes.c - the command `fhirlake nodes`: which processes use a database, and what each has in
 * hand.
 *
 * It reads the records of the database, beside whoever serves. A node says each second that it is
 * there; one that has said nothing for NODE_LOST_MS is shown as lost. What a lost one had is taken
 * by others when its leases end. */
#include "cli/nodes.h"

#include "cli/options.h"
#include "codec/instant.h"
#include "codec/json.h"
#include "store/lease.h"
#include "store/nodes.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY   (64u << 20)
#define TEXT_MAX (16u << 20)

enum { OK_ALL = 0, USAGE = 2, CANNOT = 3 };

struct options {
    const char *store;
    bool json;
};

#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "store", "URI", "the database: postgresql://HOST/DATABASE [FHIRLAKE_STORE]", O(store) },
    { "json", NULL, "as JSON", O(json) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake nodes --store postgresql://HOST/DATABASE [--json]\n\n"
        "Show the servers that use a database, when each was heard last, and which jobs and "
        "other\nleases each has in hand. Nothing is written.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 it was shown, 2 wrong usage, 3 the database cannot be read.\n\n"
                "Example:\n"
                "  fhirlake nodes --store postgresql://db.example.org/fhirlake\n",
                f);
}

/* ---- what there is ---- */

struct held {
    struct held *next;
    sv name, owner, note;
    int64_t left_ms;
};

struct node {
    struct node *next;
    struct node_seen seen;
};

struct view {
    struct arena *a;
    struct node *nodes, **nodes_end;
    struct held *held, **held_end;
};

static sv keep(struct view *v, sv text)
{
    return text.len ? arena_sv(v->a, text) : SV_LIT("");
}

static bool add_node(void *ctx, const struct node_seen *seen)
{
    struct view *v = ctx;
    struct node *n = ARENA_NEW(v->a, struct node);
    if (n == NULL)
        return false;
    *n = (struct node){ .seen = *seen };
    n->seen.who = keep(v, seen->who);
    n->seen.host = keep(v, seen->host);
    n->seen.version = keep(v, seen->version);
    *v->nodes_end = n;
    v->nodes_end = &n->next;
    return true;
}

static bool add_held(void *ctx, const struct lease_seen *seen)
{
    struct view *v = ctx;
    struct held *h = ARENA_NEW(v->a, struct held);
    if (h == NULL)
        return false;
    *h = (struct held){ .name = keep(v, seen->name),
                        .owner = keep(v, seen->owner),
                        .note = keep(v, seen->note),
                        .left_ms = seen->left_ms };
    *v->held_end = h;
    v->held_end = &h->next;
    return true;
}

static const char *state_of(const struct node_seen *n)
{
    return n->quiet_ms < NODE_LOST_MS ? "there" : "lost";
}

/* ---- showing ---- */

static err_code show_json(const struct view *v, struct buf *out, struct err *e)
{
    struct json_writer w;
    char when[INSTANT_LEN];
    json_writer_init(&w, out);
    json_obj(&w);
    json_key(&w, "nodes");
    json_arr(&w);
    for (const struct node *n = v->nodes; n; n = n->next) {
        instant_format(n->seen.since_ms, when);
        json_obj(&w);
        json_kv_str(&w, "node", n->seen.who);
        json_kv_str(&w, "host", n->seen.host);
        json_kv_i64(&w, "pid", n->seen.pid);
        json_kv_str(&w, "version", n->seen.version);
        json_kv_str(&w, "since", sv_make(when, sizeof when));
        json_kv_i64(&w, "quietMs", n->seen.quiet_ms);
        json_kv_str(&w, "state", sv_from(state_of(&n->seen)));
        json_obj_end(&w);
    }
    json_arr_end(&w);
    json_key(&w, "leases");
    json_arr(&w);
    for (const struct held *h = v->held; h; h = h->next) {
        json_obj(&w);
        json_kv_str(&w, "name", h->name);
        json_kv_str(&w, "node", h->owner);
        json_kv_i64(&w, "leftMs", h->left_ms);
        json_obj_end(&w);
    }
    json_arr_end(&w);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return buf_add_char(out, '\n', e);
}

static err_code show_node(const struct view *v, const struct node_seen *n, struct buf *out,
                          struct err *e)
{
    char when[INSTANT_LEN], last[32];
    bool any = false;
    instant_format(n->since_ms, when);
    (void)snprintf(last, sizeof last, "%lld s ago", (long long)(n->quiet_ms / 1000));
    TRY(buf_add_fmt(out, e, "%-8.8s  %-20.*s  %8lld  %-10.*s  %.19sZ  %-10s  %-5s  ", n->who.ptr,
                    SV_FMT(sv_head(n->host, 64)), (long long)n->pid, SV_FMT(n->version), when, last,
                    state_of(n)));
    for (const struct held *h = v->held; h; h = h->next)
        if (sv_eq(h->owner, n->who)) {
            TRY(buf_add_fmt(out, e, "%s%.*s", any ? ", " : "", SV_FMT(h->name)));
            any = true;
        }
    return buf_add_fmt(out, e, "%s\n", any ? "" : "-");
}

static err_code show_table(const struct view *v, struct buf *out, struct err *e)
{
    if (v->nodes == NULL)
        return buf_add_fmt(out, e, "no server uses this database\n");
    TRY(buf_add_fmt(out, e, "%-8s  %-20s  %8s  %-10s  %-20s  %-10s  %-5s  %s\n", "NODE", "HOST",
                    "PID", "VERSION", "SINCE", "HEARD", "STATE", "HOLDS"));
    for (const struct node *n = v->nodes; n; n = n->next)
        TRY(show_node(v, &n->seen, out, e));
    return ERR_OK;
}

static err_code show(const struct options *o, struct arena *a, struct buf *out, struct err *e)
{
    struct view v = { .a = a };
    v.nodes_end = &v.nodes;
    v.held_end = &v.held;
    CLEANUP(records_close) struct records *r = NULL;
    sv uri = arena_fmt(a, "%s/system", o->store);
    if (uri.ptr == NULL)
        return arena_oom(a, e);
    TRY(store_reach(o->store, e));
    TRY(records_open_to_read(uri.ptr, &r, e));
    TRY(nodes_list(r, add_node, &v, e));
    TRY(lease_list(r, SV_NONE, add_held, &v, e));
    return o->json ? show_json(&v, out, e) : show_table(&v, out, e);
}

int cli_nodes(int argc, char **argv)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MEMORY);
    CLEANUP_BUF struct buf out = BUF_INIT(TEXT_MAX);
    struct options o = { .store = getenv("FHIRLAKE_STORE") };
    struct err e;
    const char *args[1];
    size_t n_args;
    bool help;
    if (cli_options_read(table, N_OPTIONS, argc, argv, &o, args, 0, &n_args, &help, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake nodes: %s\n", e.msg);
        return USAGE;
    }
    if (help) {
        usage(stdout);
        return OK_ALL;
    }
    /* what stands in it is not shown: it may be a password */
    if (o.store == NULL || strncmp(o.store, "postgresql://", 13) != 0) {
        (void)fputs("fhirlake nodes: --store takes postgresql://HOST/DATABASE: data folders have "
                    "one server\n",
                    stderr);
        return USAGE;
    }
    err_code rc = show(&o, a, &out, &e);
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake nodes: --store: %s\n", e.msg);
        return rc == ERR_INVALID ? USAGE : CANNOT;
    }
    (void)fwrite(out.ptr, 1, out.len, stdout);
    return OK_ALL;
}
