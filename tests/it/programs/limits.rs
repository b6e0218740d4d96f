//! How many programs run at once, how much memory they take, and how much they write.

use super::*;

#[tokio::test]
async fn past_the_limit_the_idle_program_is_stopped_for_another() {
    let html = "<fragment name=a timeout=30s>no a</fragment>";
    let site = program(site(html, &[], ""), "b", &[], "")
        .file("layouts/b.html", "+++\nroute = \"/b\"\n+++\n<fragment name=b timeout=30s>no b</fragment>")
        .file("pasteup.toml", &format!("{LONG_BUDGET}[on_demand]\nmax_processes = 1\n"));
    let mut server = site.serve().await;
    assert!(server.text("/").await.starts_with("pid "));
    let a = id_after(&mut server, "listens as ").await;
    assert!(server.text("/b").await.starts_with("pid "));
    until_gone(&a).await;
    until_state(&server, "stopped").await;
    let site = program(site, "a", &[], "[run]\nmin = 1\n");
    let mut server = site.serve().await;
    id_after(&mut server, "listens as ").await;
    assert_eq!(server.text("/b").await, "no b");
    let explained = reqwest::get(format!("{}/api/explain?path=/b", server.admin)).await.unwrap().text().await.unwrap();
    assert!(explained.contains("overloaded") && explained.contains("on_demand.max_processes"), "{explained}");
}

#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_killed_and_the_others_go_on() {
    let html = "<fragment name=a timeout=30s>no a</fragment><fragment name=b timeout=30s>no b</fragment>";
    let more = "path = \"/grow\"\n[run]\nmemory = \"100MiB\"\n";
    let site = program(site(html, &[], more), "b", &[], "").file("pasteup.toml", LONG_BUDGET);
    let mut server = site.serve().await;
    server.text("/").await;
    let line = server.process.line("more than its 100MiB").await;
    assert!(line.contains("was killed"), "{line}");
    until(async || status(&server).await["crashes"] == 1).await;
    assert!(server.text("/").await.contains("pid "));
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_stops_nothing() {
    let script = "import sys\nfor number in range(300):\n    print('line', number)\nsys.stdout.write('x' * 100_000 + '\\n')\nsys.stdout.flush()\n";
    let site = site(PATIENT, &[], "").file("pasteup.toml", LONG_BUDGET);
    site.write("fragments/a/program.py", &format!("{script}{PROGRAM}"));
    let mut server = site.serve().await;
    assert!(server.text("/").await.starts_with("pid "));
    let dropped: u64 = {
        server.process.line("lines of output were dropped").await;
        let output = server.process.output();
        let line = output.lines().find(|line| line.contains("lines of output were dropped")).unwrap();
        line.split_once(" lines of output").unwrap().0.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!((200..=203).contains(&dropped), "{dropped}");
}
