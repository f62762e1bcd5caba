//! The corridor's order, held by the compiler

#[test]
fn the_corridor_can_only_be_walked_in_its_order() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
