//! Checks the built service against the contract over HTTP, with its sample and with recorded data.

use fragment_kit::testing::{Running, check_manifest, recorded};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_weather");

fn start(source: &str) -> Running {
    Running::start(PROGRAM, &[("WEATHER_SOURCE", source)])
}

#[test]
fn the_sample_is_served() {
    let service = start("");
    check_manifest(FOLDER, &service);
    let day = service.get("/weather?city=port-alder");
    day.expect_fragment();
    assert!(day.body.contains("Port Alder</h2>") && !day.body.contains("<table"));
    assert_eq!(day.header("surrogate-key"), "weather city-port-alder");
    let week = service.get("/weather?city=port-alder&days=7&heading=3");
    week.expect_fragment();
    assert!(week.body.contains("<h3 ") && week.body.contains("<caption>"));
    assert_eq!(week.body.matches("<th scope=\"row\">").count(), 7);
}

#[test]
fn today_can_be_set() {
    // As a file, the sample has the dates that are written in it.
    let sample = format!("{FOLDER}/sample/daily.csv");
    let env = [("WEATHER_SOURCE", &*sample), ("WEATHER_DATE", "2026-09-10")];
    let service = Running::start(PROGRAM, &env);
    let day = service.get("/weather?city=wexcombe&days=7");
    assert!(day.body.contains("Thursday 10 September 2026"));
    assert_eq!(day.body.matches("<th scope=\"row\">").count(), 2);
    let env = [("WEATHER_SOURCE", &*sample), ("WEATHER_DATE", "2001-01-01")];
    let service = Running::start(PROGRAM, &env);
    assert_eq!(service.get("/weather?city=wexcombe").status, 204);
}

#[test]
fn invalid_parameters_are_refused() {
    let service = start("");
    for query in ["", "?days=1", "?city=wexcombe&days=8", "?city=wexcombe&heading=h2", "?city=a&city=b"] {
        service.get(&format!("/weather{query}")).expect_problem(400);
    }
    for city in ["atlantis", "", "..%2F..%2Fetc", "%3Cb%3E", "%FF"] {
        service.get(&format!("/weather?city={city}")).expect_problem(404);
    }
}

#[test]
fn a_client_that_has_it_gets_a_304() {
    let service = start("");
    let path = "/weather?city=saltmarsh";
    let tag = service.get(path).header("etag").to_owned();
    let again = service.get_with(path, &format!("If-None-Match: W/{tag}\r\n"));
    assert_eq!((again.status, again.body.as_str()), (304, ""));
}

#[test]
fn bad_data_is_a_503() {
    let broken = std::env::temp_dir().join(format!("weather-{}.csv", std::process::id()));
    std::fs::write(&broken, "location,date,warmth\nA,2026-01-01,3\n").expect("a file");
    let path = broken.to_str().expect("a UTF-8 path");
    let service = start(path);
    let reply = service.get("/weather?city=a");
    reply.expect_problem(503);
    assert!(reply.body.contains("missing field"), "{}", reply.body);
    // Once corrected, it is served without a restart.
    let right = "location,date,precipitation,temp_max,temp_min,wind,weather\nA,2026-01-01,0,2,1,3,sun\n";
    std::fs::write(&broken, right).expect("a file");
    service.get("/weather?city=a").expect_fragment();
    std::fs::remove_file(&broken).expect("a file");
    start("/nowhere.csv").get("/weather?city=a").expect_problem(503);
    start(std::env::temp_dir().to_str().expect("UTF-8")).get("/weather?city=a").expect_problem(503);
}

#[test]
fn every_recorded_day_is_served() {
    let Some(path) = recorded(FOLDER, "weather/daily.csv") else {
        return;
    };
    let source = path.to_str().expect("a UTF-8 path");
    let latest = start(source).get("/weather?city=new-york");
    assert!(latest.body.contains("Thursday 31 December 2015"));
    // Starting one service per month would be slow. A unit test renders all 2,922 days; this test requests the last days
    // of each recorded year.
    let mut days = 0;
    for date in ["2012-01-07", "2013-02-28", "2014-12-31", "2015-12-31"] {
        let env = [("WEATHER_SOURCE", source), ("WEATHER_DATE", date)];
        let service = Running::start(PROGRAM, &env);
        for city in ["seattle", "new-york"] {
            let reply = service.get(&format!("/weather?city={city}&days=7"));
            reply.expect_fragment();
            assert!(reply.body.contains(&format!("datetime=\"{date}\"")));
            days += reply.body.matches("<th scope=\"row\">").count();
        }
    }
    assert_eq!(days, 4 * 2 * 7);
}
