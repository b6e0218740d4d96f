// Joins a fragment written in C to wasi:http. Nothing in here depends on what the fragment shows.

#include "http.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fragment.h"

// The most bytes that one write takes.
#define MOST 4096

// A string of the interface: text and length.
static fragment_string_t string(const char *text) {
    fragment_string_t string;
    string.ptr = (uint8_t *)text;
    string.len = strlen(text);
    return string;
}

static fragment_list_u8_t bytes(const char *text) {
    fragment_list_u8_t list = {.ptr = (uint8_t *)text, .len = strlen(text)};
    return list;
}

static void add(struct answer *answer, const char *text, size_t length) {
    if (answer->length + length >= answer->room) {
        answer->room = 2 * answer->room + length + 1024;
        answer->text = realloc(answer->text, answer->room);
        if (answer->text == NULL) abort();
    }
    memcpy(answer->text + answer->length, text, length);
    answer->length += length;
    answer->text[answer->length] = 0;
}

// The digits of a number, with a sign, from the end of a buffer. Returns where they begin.
static char *digits(uint64_t number, bool is_negative, char *end) {
    *--end = 0;
    do *--end = (char)('0' + number % 10);
    while (number /= 10);
    if (is_negative) *--end = '-';
    return end;
}

// Not the one of the C library: with it the component would need an adapter for files, which it does not have anyway.
void print(struct answer *answer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            add(answer, format, 1);
            continue;
        }
        char fill = *++format == '0' ? '0' : ' ', buffer[32], *end = buffer + sizeof buffer;
        size_t width = 0;
        while (*format >= '0' && *format <= '9') width = width * 10 + (size_t)(*format++ - '0');
        const char *text = buffer;
        buffer[0] = *format, buffer[1] = 0;
        if (*format == 's') {
            text = va_arg(arguments, const char *);
        } else if (*format == 'c') {
            buffer[0] = (char)va_arg(arguments, int);
        } else if (*format == 'd') {
            int number = va_arg(arguments, int);
            text = digits(number < 0 ? -(uint64_t)number : (uint64_t)number, number < 0, end);
        } else if (*format == 'u') {
            text = digits(va_arg(arguments, unsigned), false, end);
        } else if (*format == 'z') {
            format++;
            text = digits(va_arg(arguments, size_t), false, end);
        }
        size_t length = strlen(text);
        for (; width > length; width--) add(answer, &fill, 1);
        add(answer, text, length);
        if (*format == 0) break;
    }
    va_end(arguments);
}

void print_text(struct answer *answer, const char *text) {
    for (; *text; text++) {
        switch (*text) {
            case '<': print(answer, "&lt;"); break;
            case '>': print(answer, "&gt;"); break;
            case '&': print(answer, "&amp;"); break;
            case '"': print(answer, "&quot;"); break;
            case '\'': print(answer, "&#39;"); break;
            default: print(answer, "%c", *text);
        }
    }
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Copies a text up to one of the characters that end it, without its percent-encoding.
static bool decode(const char *at, const char *ends, char *value, size_t room) {
    size_t filled = 0;
    for (; *at && strchr(ends, *at) == NULL; at++) {
        if (filled + 1 >= room) return false;
        char c = *at;
        if (c == '%' && digit(at[1]) >= 0 && digit(at[2]) >= 0) {
            c = (char)(digit(at[1]) * 16 + digit(at[2]));
            at += 2;
        }
        value[filled++] = c;
    }
    value[filled] = 0;
    return true;
}

bool parameter(const char *path, const char *name, char *value, size_t room) {
    size_t length = strlen(name);
    for (const char *at = strchr(path, '?'); at != NULL; at = strchr(at, '&')) {
        at++;
        if (strncmp(at, name, length) == 0 && at[length] == '=') return decode(at + length + 1, "&", value, room);
    }
    return false;
}

bool last_part(const char *path, char *value, size_t room) {
    size_t start = strcspn(path, "?");
    while (start > 0 && path[start - 1] != '/') start--;
    return decode(path + start, "?", value, room);
}

void refuse(struct answer *answer, int status, const char *why) {
    answer->status = status;
    answer->content_type = "application/problem+json";
    answer->length = 0;
    print(answer, "{\"title\": \"%s\", \"status\": %d}", why, status);
}

uint64_t now(void) {
    wasi_clocks_wall_clock_datetime_t time;
    wasi_clocks_wall_clock_now(&time);
    return time.seconds;
}

static void append(wasi_http_types_own_fields_t headers, const char *name, const char *value) {
    fragment_string_t field = string(name);
    fragment_list_u8_t content = bytes(value);
    wasi_http_types_header_error_t error;
    wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(headers), &field, &content, &error);
}

// Whether the client has this version of the answer already.
static bool is_known(wasi_http_types_borrow_incoming_request_t request, const char *tag) {
    wasi_http_types_own_fields_t headers = wasi_http_types_method_incoming_request_headers(request);
    fragment_string_t name = string("if-none-match");
    fragment_list_list_u8_t values;
    wasi_http_types_method_fields_get(wasi_http_types_borrow_fields(headers), &name, &values);
    bool known = false;
    for (size_t i = 0; i < values.len; i++) {
        known |= values.ptr[i].len == strlen(tag) && memcmp(values.ptr[i].ptr, tag, strlen(tag)) == 0;
    }
    fragment_list_list_u8_free(&values);
    wasi_http_types_fields_drop_own(headers);
    return known;
}

static void write_all(wasi_io_streams_own_output_stream_t stream, const char *text, size_t length) {
    for (size_t sent = 0; sent < length;) {
        size_t more = length - sent < MOST ? length - sent : MOST;
        fragment_list_u8_t chunk = {.ptr = (uint8_t *)text + sent, .len = more};
        wasi_io_streams_stream_error_t error;
        if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream),
                                                                            &chunk, &error)) {
            break;
        }
        sent += more;
    }
    wasi_io_streams_output_stream_drop_own(stream);
}

void say(const char *text) {
    struct answer line = {0};
    print(&line, "%s%c", text, 10);
    write_all(wasi_cli_stderr_get_stderr(), line.text, line.length);
    free(line.text);
}

static void send(wasi_http_types_own_response_outparam_t out, wasi_http_types_own_fields_t headers, int status,
                 const char *text, size_t length) {
    wasi_http_types_own_outgoing_response_t response = wasi_http_types_constructor_outgoing_response(headers);
    wasi_http_types_borrow_outgoing_response_t borrowed = wasi_http_types_borrow_outgoing_response(response);
    wasi_http_types_own_outgoing_body_t body;
    if (!wasi_http_types_method_outgoing_response_set_status_code(borrowed, (uint16_t)status)) abort();
    if (!wasi_http_types_method_outgoing_response_body(borrowed, &body)) abort();
    wasi_http_types_result_own_outgoing_response_error_code_t result;
    result.is_err = false;
    result.val.ok = response;
    wasi_http_types_static_response_outparam_set(out, &result);

    wasi_http_types_own_output_stream_t stream;
    if (!wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream)) abort();
    write_all(stream, text, length);
    wasi_http_types_error_code_t error;
    wasi_http_types_static_outgoing_body_finish(body, NULL, &error);
}

void exports_wasi_http_incoming_handler_handle(exports_wasi_http_incoming_handler_own_incoming_request_t request,
                                               exports_wasi_http_incoming_handler_own_response_outparam_t out) {
    wasi_http_types_borrow_incoming_request_t borrowed = wasi_http_types_borrow_incoming_request(request);
    fragment_string_t asked;
    if (!wasi_http_types_method_incoming_request_path_with_query(borrowed, &asked)) asked = string("/");
    // A copy, which ends with a NUL.
    char *path = malloc(asked.len + 1);
    if (path == NULL) abort();
    memcpy(path, asked.ptr, asked.len);
    path[asked.len] = 0;

    struct answer it = {.status = 200, .content_type = "text/html; charset=utf-8"};
    print(&it, "%s", "");
    answer(path, &it);

    // FNV-1a: equal answers have equal tags.
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < it.length; i++) hash = (hash ^ (uint8_t)it.text[i]) * 1099511628211u;
    char tag[32], length[32], *end = tag + sizeof tag - 1;
    char *begin = digits(hash, false, end);
    *--begin = '"', end[-1] = '"', *end = 0;
    bool held = it.status == 200 && is_known(borrowed, begin);

    wasi_http_types_own_fields_t headers = wasi_http_types_constructor_fields();
    if (it.cache_control != NULL) append(headers, "cache-control", it.cache_control);
    if (it.status == 200) append(headers, "etag", begin);
    if (held) {
        send(out, headers, 304, NULL, 0);
    } else {
        append(headers, "content-type", it.content_type);
        append(headers, "content-length", digits(it.length, false, length + sizeof length));
        send(out, headers, it.status, it.text, it.length);
    }
    wasi_http_types_incoming_request_drop_own(request);
    free(it.text);
    free(path);
}
