//! How long the pure parts take, and the engine where all is in memory: each of the scenarios.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod scenarios;

use scenarios::{Amount, all};

fn page(criterion: &mut Criterion) {
    for scenario in all() {
        // Benches of one group are listed together, and each has a throughput of its own.
        let (group, rest) = scenario.name.split_once('/').unwrap_or(("page", &scenario.name));
        let (mut group, name) = (criterion.benchmark_group(group), rest.to_owned());
        match scenario.amount {
            Some(Amount::Bytes(bytes)) => _ = group.throughput(Throughput::Bytes(bytes)),
            Some(Amount::Parts(parts)) => _ = group.throughput(Throughput::Elements(parts)),
            None => {}
        }
        let mut work = None;
        let mut scenario = Some(scenario);
        // Made ready only where it is asked for.
        group.bench_function(name, |bencher| {
            let work = work.get_or_insert_with(|| scenario.take().expect("it is made ready once").ready());
            bencher.iter(work);
        });
        group.finish();
    }
}

criterion_group!(benches, page);
criterion_main!(benches);
