"""Tests that `make quick` leaves out: files, classes or tests, dearest first, by CPU seconds of one core.

A test belongs here that takes more than 5 s where several run at once, which is about 3 s of a core of its own. Tests
of emulated kernels need not be listed: tests/conftest.py marks them all, because the kernels take 12 s to compile.
"""

SLOW = (
    "tests/test_build.py",
    "tests/study/test_verdict.py",
    "tests/study/test_claims.py",
    "tests/encoding/test_one_r.py",
    "tests/stats/test_refusals.py",
    "tests/study/test_power.py",
    "tests/study/test_variants.py",
    "tests/kernels/test_mutations.py",
    "tests/study/test_demo.py::TestDemo",
    "tests/test_machine_code.py",
    "tests/test_bare_device.py",
    "tests/hierarchy/test_maps.py::test_smooth_maps_without_an_order_have_none_beside_predictability",
    "tests/kernels/test_weight_sketch.py::test_memory_is_that_of_a_block_whatever_the_batch",
    "tests/features/test_timm_models.py",
    "tests/features/test_one_writer.py::test_many_writers_at_once_make_one_whole_capture",
    "tests/features/test_one_writer.py::test_a_writer_that_died_is_in_nobodys_way",
    "tests/features/test_one_writer.py::test_a_second_writer_is_told_who_writes",
    "tests/features/test_identity.py::test_attributes_of_any_value_count",
    "tests/study/test_simulated_verdict.py",
    "tests/study/test_study.py",
    "tests/hierarchy/test_temporal_order.py::test_without_an_order_one_is_found_as_rarely_as_95_percent_says",
    "tests/hierarchy/test_temporal_order.py::test_subjects_with_orders_of_their_own_are_no_common_order",
    "tests/encoding/test_unique.py::test_its_level_is_held_though_gradients_are_functions_of_the_activations",
    "tests/hierarchy/test_lag.py::test_the_level_is_held_where_gradients_are_the_activations",
    "tests/study/test_demo.py::TestModels::test_it_finds_the_banana",
    "tests/features/test_capture_options.py::test_compiled_layers_give_the_same",
    "tests/stats/test_paired.py::test_of_the_same_information_neither_predicts_more",
    "tests/features/test_capture_full_depth.py::test_no_more_memory_than_a_training_step",
    "tests/hierarchy/test_spatial_score.py::test_the_same_data_give_very_different_numbers",
    "tests/hierarchy/test_spatial_score.py::test_an_interval_over_images_holds_what_other_images_give",
    "tests/kernels/test_weight_sketch.py::test_arrays_beyond_two_billion_elements",
)
