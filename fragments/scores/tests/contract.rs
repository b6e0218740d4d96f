//! Checks the built service against the contract over HTTP, with its sample and with recorded data.

use fragment_kit::testing::{Reply, Running, check_manifest, recorded};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_scores");
const LEAGUES: [&str; 7] = ["de.1", "en.1", "en.2", "es.1", "fr.1", "it.1", "sco.1"];

fn start(source: &str) -> Running {
    Running::start(PROGRAM, &[("SCORES_SOURCE", source)])
}

fn matches(reply: &Reply) -> usize {
    reply.body.matches("class=\"sc-score\"").count()
}

#[test]
fn the_samples_are_served_in_every_view() {
    let service = start("");
    check_manifest(FOLDER, &service);
    for league in ["north.1", "south.1"] {
        let results = service.get(&format!("/scores?league={league}&limit=50"));
        results.expect_fragment();
        assert_eq!(results.header("surrogate-key"), format!("scores league-{league}"));
        let fixtures = service.get(&format!("/scores?league={league}&view=fixtures&limit=50"));
        fixtures.expect_fragment();
        // Eight rounds of four matches, the last two of which are to come.
        assert_eq!(matches(&results) + matches(&fixtures), 32);
        assert!(matches(&fixtures) >= 8);
        let table = service.get(&format!("/scores?league={league}&view=table&heading=4"));
        table.expect_fragment();
        assert!(table.body.contains("Table</h4>"));
        assert_eq!(table.body.matches("<th scope=\"row\"").count(), 8);
        let top = service.get(&format!("/scores?league={league}&view=table&limit=3"));
        assert_eq!(top.body.matches("<th scope=\"row\"").count(), 3);
    }
}

#[test]
fn invalid_parameters_are_refused() {
    let service = start("");
    for query in ["", "?league=north.1&view=cup", "?league=north.1&limit=0", "?league=north.1&heading=5"] {
        service.get(&format!("/scores{query}")).expect_problem(400);
    }
    for league in ["east.1", "", "..%2Fnorth.1", "%3Cb%3E"] {
        service.get(&format!("/scores?league={league}")).expect_problem(404);
    }
}

#[test]
fn a_client_that_has_it_gets_a_304() {
    let service = start("");
    let path = "/scores?league=north.1&view=table";
    let tag = service.get(path).header("etag").to_owned();
    let again = service.get_with(path, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.body.as_str()), (304, ""));
}

#[test]
fn bad_data_is_a_503_and_a_missing_league_a_404() {
    let folder = std::env::temp_dir().join(format!("scores-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("cut.1.json"), "{\"name\": \"Cut\", \"matches\": [{\"ro").expect("a file");
    let service = start(folder.to_str().expect("a UTF-8 path"));
    let reply = service.get("/scores?league=cut.1");
    reply.expect_problem(503);
    assert!(reply.body.contains("line 1 column"), "{}", reply.body);
    service.get("/scores?league=none.1").expect_problem(404);
    let whole = "{\"name\": \"New\", \"matches\": [{\"date\":\"2026-01-01\",\"team1\":\"A\",\"team2\":\"B\"}]}";
    std::fs::write(folder.join("none.1.json"), whole).expect("a file");
    service.get("/scores?league=none.1&view=fixtures").expect_fragment();
    assert_eq!(service.get("/scores?league=none.1&view=results").status, 204);
    std::fs::remove_dir_all(&folder).expect("a folder");
    start("/nowhere/at/all").get("/scores?league=cut.1").expect_problem(503);
    start("http://127.0.0.1:9").get("/scores?league=cut.1").expect_problem(503);
}

#[test]
fn every_recorded_league_is_served() {
    let Some(path) = recorded(FOLDER, "scores") else {
        return;
    };
    let service = start(path.join("2025-26-{league}.json").to_str().expect("a UTF-8 path"));
    let mut played = 0;
    for league in LEAGUES {
        for view in ["results", "fixtures"] {
            let reply = service.get(&format!("/scores?league={league}&view={view}&limit=50"));
            reply.expect_fragment();
            assert_eq!(matches(&reply), 50);
        }
        let table = service.get(&format!("/scores?league={league}&view=table"));
        table.expect_fragment();
        // The columns are position, club, and matches played.
        for row in table.body.split("class=\"sc-club\">").skip(1) {
            let cell = row.split("<td class=\"sc-number\">").nth(1);
            let number = cell.and_then(|cell| cell.split('<').next());
            played += number.and_then(|text| text.parse::<usize>().ok()).expect("a number");
        }
    }
    // Every match counts for two clubs.
    assert_eq!(played, 2 * (2502 - 772));
    service.get("/scores?league=xx.9").expect_problem(404);
}
