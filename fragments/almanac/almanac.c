// Sunrise, sunset and the Moon at a town, worked out for the present day in Universal Time.
//
// The Sun: the equations of NOAA's Solar Calculator (https://gml.noaa.gov/grad/solcalc/calcdetails.html), which are those of
// Meeus, Astronomical Algorithms, chapters 25 and 28. Its upper edge is seen on the horizon when its centre is 0.833 degrees
// below it. Good to a minute at these latitudes. The Moon: Meeus, chapter 48, good to about one per cent of the lit part.
// The towns are invented; they lie on a coast of the North Sea.

#include <math.h>
#include <string.h>

#include "http.h"

#define RADIANS (3.14159265358979323846 / 180)
#define DAY 86400
// The Julian day at 1970-01-01, and at 2000-01-01 at noon.
#define UNIX_EPOCH 2440587.5
#define J2000 2451545.0

struct town {
    const char *slug, *name;
    double latitude, longitude;
};

static const struct town TOWNS[] = {
    {"port-alder", "Port Alder", 54.28, -0.40},    {"wexcombe", "Wexcombe", 53.96, -1.08},
    {"saltmarsh", "Saltmarsh", 53.57, 0.02},       {"high-fenwick", "High Fenwick", 54.72, -2.21},
    {"lower-quill", "Lower Quill", 54.05, -0.86},
};

static double sine(double degrees) { return sin(degrees * RADIANS); }
static double cosine(double degrees) { return cos(degrees * RADIANS); }

static double centuries(double time) { return (time / DAY + UNIX_EPOCH - J2000) / 36525; }

// The declination of the Sun in degrees, and the equation of time in minutes.
static void sun(double time, double *declination, double *equation) {
    double t = centuries(time);
    double longitude = fmod(280.46646 + t * (36000.76983 + t * 0.0003032), 360);
    double anomaly = 357.52911 + t * (35999.05029 - 0.0001537 * t);
    double eccentricity = 0.016708634 - t * (0.000042037 + 0.0000001267 * t);
    double centre = sine(anomaly) * (1.914602 - t * (0.004817 + 0.000014 * t)) +
                    sine(2 * anomaly) * (0.019993 - 0.000101 * t) + sine(3 * anomaly) * 0.000289;
    double node = 125.04 - 1934.136 * t;
    double apparent = longitude + centre - 0.00569 - 0.00478 * sine(node);
    double seconds = 21.448 - t * (46.815 + t * (0.00059 - t * 0.001813));
    double obliquity = 23 + (26 + seconds / 60) / 60 + 0.00256 * cosine(node);
    *declination = asin(sine(obliquity) * sine(apparent)) / RADIANS;
    double y = tan(obliquity / 2 * RADIANS) * tan(obliquity / 2 * RADIANS);
    *equation = 4 / RADIANS * (y * sine(2 * longitude) - 2 * eccentricity * sine(anomaly) +
                               4 * eccentricity * y * sine(anomaly) * cosine(2 * longitude) -
                               y * y / 2 * sine(4 * longitude) - 1.25 * eccentricity * eccentricity * sine(2 * anomaly));
}

// When the Sun rises (`side` 1) or sets (-1) on the day that begins then, in seconds since 1970. NAN: it does not.
static double crossing(const struct town *town, double day, int side) {
    double time = day + DAY / 2;
    // Declination and equation of time are those of the time that is looked for.
    for (int i = 0; i < 3; i++) {
        double declination, equation;
        sun(time, &declination, &equation);
        double hour = cosine(90.833) / (cosine(town->latitude) * cosine(declination)) -
                      tan(town->latitude * RADIANS) * tan(declination * RADIANS);
        if (hour < -1 || hour > 1) return NAN;
        double angle = acos(hour) / RADIANS;
        time = day + 60 * (720 - 4 * (town->longitude + side * angle) - equation);
    }
    return time;
}

// How far the Moon has come in its cycle, from 0 to 1, and how much of it is lit.
static double moon(double time, double *lit) {
    double t = centuries(time);
    double elongation = fmod(297.8501921 + 445267.1114034 * t, 360);
    double sun_anomaly = 357.5291092 + 35999.0502909 * t;
    double anomaly = 134.9633964 + 477198.8675055 * t;
    double shift = 6.289 * sine(anomaly) - 2.100 * sine(sun_anomaly) + 1.274 * sine(2 * elongation - anomaly) +
                   0.658 * sine(2 * elongation) + 0.214 * sine(2 * anomaly) + 0.110 * sine(elongation);
    double phase = fmod(elongation + shift + 360, 360);
    *lit = (1 - cosine(phase)) / 2;
    return phase / 360;
}

static const char *phase_name(double phase) {
    static const char *NAMES[] = {"New Moon",  "Waxing crescent", "First quarter", "Waxing gibbous",
                                  "Full Moon", "Waning gibbous",  "Last quarter",  "Waning crescent"};
    return NAMES[(int)(phase * 8 + 0.5) % 8];
}

static void print_time(struct answer *it, const char *what, double time) {
    print(it, "<tr><th scope=\"row\">%s</th><td>", what);
    if (isnan(time)) {
        print(it, "not today</td></tr>");
        return;
    }
    int minutes = (int)(fmod(time, DAY) / 60 + 0.5) % 1440;
    print(it, "<time>%02d:%02d</time></td></tr>", minutes / 60, minutes % 60);
}

void answer(const char *path, struct answer *it) {
    char slug[32];
    const struct town *town = NULL;
    for (size_t i = 0; last_part(path, slug, sizeof slug) && i < sizeof TOWNS / sizeof *TOWNS; i++) {
        if (strcmp(TOWNS[i].slug, slug) == 0) town = &TOWNS[i];
    }
    if (town == NULL) {
        refuse(it, 404, "there is no such town");
        return;
    }
    // Worked out for whole minutes, so that the answer stays the same for a while.
    double time = (double)(now() / 60 * 60), day = floor(time / DAY) * DAY, lit;
    double rise = crossing(town, day, 1), set = crossing(town, day, -1), phase = moon(time, &lit);
    it->cache_control = "max-age=300";
    print(it, "<section class=\"almanac\" aria-label=\"Sun and Moon at %s\">", town->name);
    print(it, "<h2 class=\"wx-city\">Sun and Moon at %s</h2>", town->name);
    print(it, "<table><caption>Today, in Universal Time</caption><tbody>");
    print_time(it, "Sunrise", rise);
    print_time(it, "Sunset", set);
    if (!isnan(rise) && !isnan(set)) {
        int minutes = (int)((set - rise) / 60 + 0.5);
        print(it, "<tr><th scope=\"row\">Daylight</th><td>%d h %d min</td></tr>", minutes / 60, minutes % 60);
    }
    print(it, "<tr><th scope=\"row\">Moon</th><td>%s, %d %% lit</td></tr>", phase_name(phase), (int)(lit * 100 + 0.5));
    print(it, "</tbody></table></section>");
}
