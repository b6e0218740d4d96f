// The nanoservice @NAME@. `fragment` makes its HTML; `http.c` answers requests.

#include <string.h>

#include "http.h"

static const char *const PARAMS[] = {@PARAMS@};
enum { COUNT = sizeof PARAMS / sizeof *PARAMS };

// The HTML for the values of the parameters, in their order. Use `print_text` for whatever is not your own text.
static void fragment(struct answer *it, char values[][41]) {
    print(it, "<p>Hello from @NAME@");
    for (size_t i = 0; i < COUNT; i++) {
        print(it, ", %s = ", PARAMS[i]);
        print_text(it, values[i]);
    }
    print(it, ".</p>");
}

static bool is_good(const char *value) {
    return *value && strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(value);
}

void answer(const char *path, struct answer *it) {
    char values[COUNT + 1][41];
    for (size_t i = 0; i < COUNT; i++) {
        if (!parameter(path, PARAMS[i], values[i], sizeof *values) || !is_good(values[i])) {
            refuse(it, 400, "a parameter is missing, or is not made of a-z, 0-9 and -");
            return;
        }
    }
    it->cache_control = "max-age=60";
    fragment(it, values);
}
