//! Measures the time of each scenario: the pure code, and the engine with everything in memory.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod scenarios;

use scenarios::{Amount, all};

fn page(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    for scenario in all() {
        group.throughput(match scenario.amount {
            Some(Amount::Bytes(bytes)) => Throughput::Bytes(bytes),
            Some(Amount::Parts(parts)) => Throughput::Elements(parts),
            None => Throughput::Elements(1),
        });
        let name = scenario.name.clone();
        // A scenario is prepared only if it is selected.
        let (mut scenario, mut work) = (Some(scenario), None);
        group.bench_function(name, |bencher| {
            bencher.iter(work.get_or_insert_with(|| scenario.take().expect("once").ready()));
        });
    }
    group.finish();
}

criterion_group!(benches, page);
criterion_main!(benches);
