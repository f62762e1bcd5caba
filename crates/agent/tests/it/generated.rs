//! The checked-in protobuf code is what the protos give.

use std::fs;
use std::path::Path;

use prost::Message as _;

/// Set to write the code anew instead of comparing.
const UPDATE: &str = "UPDATE_GENERATED";

#[test]
fn the_generated_code_is_that_of_the_protos() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    let compile = |protos: &[&str]| protox::compile(protos, [home.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .out_dir(scratch.path())
        .compile_fds(compile(&["workload.proto", "sds.proto"]))
        .unwrap();
    let code = |made: &str, proto: &str| {
        let made = fs::read_to_string(scratch.path().join(made)).unwrap();
        format!("//! Made from `proto/{proto}` by a test.\n\n{made}").into_bytes()
    };
    let expected = [
        ("workload.rs", code("_.rs", "workload.proto")),
        ("sds.rs", code("envoy.service.secret.v3.rs", "sds.proto")),
        ("workload.bin", compile(&["workload.proto"]).encode_to_vec()),
    ];
    for (name, made) in expected {
        let kept = home.join("src/generated").join(name);
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&kept, &made).unwrap();
        }
        assert!(
            fs::read(&kept).unwrap() == made,
            "{} is not what its proto gives: run this test with {UPDATE}=1 and look at the difference",
            kept.display()
        );
    }
}
