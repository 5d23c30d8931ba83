"""Tests that `make quick` leaves out: files, classes or tests, dearest first, by CPU seconds of one core.

A test belongs here that takes more than 5 s where several run at once, which is about 3 s of a core of its own. Tests
of emulated kernels need not be listed: tests/conftest.py marks them all, because the kernels take 12 s to compile.
"""

SLOW = (
    "tests/test_build.py",
    "tests/study/test_verdict.py",
    "tests/study/test_spatial_claims.py",
    "tests/study/test_claims.py",
    "tests/encoding/test_one_r.py",
    "tests/stats/test_refusals.py",
    "tests/study/test_power.py",
    "tests/study/test_variants.py",
    "tests/kernels/test_mutations.py",
    "tests/study/test_demo.py::TestDemo",
    "tests/test_machine_code.py",
    "tests/test_bare_device.py",
    "tests/stats/test_smooth_maps.py::test_level_and_interval_without_an_order",
    "tests/hierarchy/test_maps.py::test_smooth_maps_without_an_order_have_none_beside_predictability",
    "tests/kernels/test_weight_sketch.py::test_memory_is_that_of_a_block_whatever_the_batch",
    "tests/features/test_timm_models.py",
    "tests/features/test_one_writer.py::test_many_writers_at_once_make_one_whole_capture",
    "tests/features/test_one_writer.py::test_a_writer_that_died_is_in_nobodys_way",
    "tests/features/test_one_writer.py::test_a_second_writer_is_told_who_writes",
    "tests/features/test_identity.py::test_attributes_of_any_value_count",
    "tests/test_docs.py::test_the_example_of_the_page_of_maps_runs",
    "tests/study/test_simulated_verdict.py",
    "tests/study/test_temporal_claims.py",
    "tests/study/test_study.py",
    "tests/study/test_subjects.py",
    "tests/hierarchy/test_temporal_order.py::test_without_an_order_one_is_found_as_rarely_as_95_percent_says",
    "tests/hierarchy/test_temporal_order.py::test_subjects_with_orders_of_their_own_are_no_common_order",
    "tests/hierarchy/test_layer_courses.py::"
    "test_gradients_that_come_at_once_have_an_order_only_where_activations_tell_the_deepest",
    "tests/encoding/test_unique.py::test_its_level_is_held_though_gradients_are_functions_of_the_activations",
    "tests/hierarchy/test_lag.py::test_the_level_is_held_where_gradients_are_the_activations",
    "tests/study/test_demo.py::TestModels::test_it_finds_the_banana",
    "tests/recordings/test_simulated_alternatives.py::test_noise_grows_with_the_loss_and_with_nothing_else",
    "tests/recordings/test_simulated_alternatives.py::test_nonlinear_readouts_are_of_the_same_features",
    "tests/features/test_capture_options.py::test_compiled_layers_give_the_same",
    "tests/stats/test_paired.py::test_of_the_same_information_neither_predicts_more",
    "tests/features/test_capture_full_depth.py::test_no_more_memory_than_a_training_step",
    "tests/hierarchy/test_spatial_score.py::test_the_same_data_give_very_different_numbers",
    "tests/hierarchy/test_map_intervals.py::test_an_interval_over_maps_holds_the_smoothness_of_the_map",
    "tests/hierarchy/test_spatial_score.py::test_an_interval_over_images_holds_what_other_images_give",
    "tests/kernels/test_weight_sketch.py::test_arrays_beyond_two_billion_elements",
    "tests/recordings/test_damaged_files.py::test_no_flipped_bit_gives_other_numbers",
    "tests/recordings/test_agreement.py::TestAffines::test_any_pair_agrees_or_is_quoted",
<<<<<<< HEAD
    "tests/cli/test_examples.py::test_it_runs",
=======
    "tests/slurm/test_slurm.py",
    "tests/study/runner/test_studies.py::test_image_sets_modalities_controls_and_claims_of_one_file",
    "tests/study/runner/test_studies.py::test_commands_print_what_there_is_to_do",
    "tests/study/runner/test_identity.py::test_a_plan_of_3000_tasks_and_its_state_are_there_at_once",
    "tests/study/runner/test_interruptions.py::test_a_process_that_is_killed_in_a_capture_leaves_nothing_that_counts",
    "tests/study/runner/test_interruptions.py::test_a_process_that_is_killed_in_a_fit_leaves_nothing_that_counts",
>>>>>>> h-study-run
    "tests/cli/test_bad_input.py::test_each_file_of_a_data_set_broken_in_turn",
)
