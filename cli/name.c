/* SPDX-License-Identifier: Apache-2.0 */
/* An adjective and an animal. */
#include "cli/name.h"

#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"

static const char *const adjectives[] = {
    "able",   "bold",   "brave", "bright", "brisk", "calm",   "clever", "cosy",
    "curly",  "eager",  "fair",  "fancy",  "fast",  "fluffy", "fresh",  "gentle",
    "golden", "good",   "happy", "jolly",  "keen",  "kind",   "light",  "lively",
    "loyal",  "lucky",  "merry", "mild",   "neat",  "nimble", "polite", "proud",
    "quick",  "quiet",  "rapid", "ready",  "red",   "shiny",  "silent", "silver",
    "smart",  "smooth", "snowy", "stable", "sunny", "swift",  "tidy",   "warm",
};
static const char *const animals[] = {
    "badger", "bat",    "bear",     "beaver", "bee",   "bison",  "camel", "cat",
    "cobra",  "crab",   "crane",    "crow",   "deer",  "dingo",  "dog",   "dove",
    "duck",   "eagle",  "emu",      "falcon", "finch", "fox",    "frog",  "gecko",
    "goat",   "goose",  "hare",     "hawk",   "heron", "horse",  "ibex",  "koala",
    "lemur",  "lion",   "lizard",   "lynx",   "mole",  "moose",  "mouse", "newt",
    "otter",  "owl",    "panda",    "pony",   "quail", "rabbit", "raven", "robin",
    "seal",   "shrimp", "squirrel", "stork",  "swan",  "tiger",  "trout", "turtle",
    "viper",  "walrus", "weasel",   "whale",  "wolf",  "wombat", "yak",   "zebra",
};

static void
remember(void *arg, struct object *o)
{
    map_put(arg, o->name, arg);
}

int
cli_new_name(struct session *s, const struct resource *r, const char *ns, bool numbered,
             char **ret, struct error *e)
{
    auto_map *used = map_new(NULL);

    if (client_list(s->client, r, ns, NULL, remember, used, NULL, e) < 0)
        return -(int)e->code;
    for (unsigned round = 1;; round++) {
        const char *adjective = adjectives[id_uniform(ARRAY_LEN(adjectives))];
        const char *animal = animals[id_uniform(ARRAY_LEN(animals))];
        bool number = numbered || round > 50;
        for (unsigned n = 1; n <= (number ? round * 100 : 1); n++) {
            autofree char *name = number ? xasprintf("%s-%s-%u", adjective, animal, n)
                                         : xasprintf("%s-%s", adjective, animal);
            if (map_get(used, name) != NULL)
                continue;
            *ret = move_ptr(name);
            return 0;
        }
    }
}
