"""Which test shows which requirement: the map from the behaviours that were asked for to the tests that check them.

If these fail, a requirement would seem to be shown by a test that was renamed or removed.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from tests.source import parsed

TESTS = Path(__file__).resolve().parent

SHOWN_BY = {
    "R1 retry the step, never the run": (
        "e2e/test_requirements_effects.py::test_a_failing_model_repeats_the_call_and_never_the_run",
        "models/test_answer.py::test_requests_on_the_wire_are_our_attempts",
    ),
    "R2 side-effect classes and deterministic keys": (
        "e2e/test_requirements_effects.py::test_a_lost_answer_of_a_once_effect_goes_to_verify",
        "e2e/test_requirements_effects.py::test_a_once_effect_that_nobody_can_verify_goes_to_a_person",
        "e2e/test_requirements_effects.py::test_an_idempotent_effect_has_one_key_in_every_attempt_and_process",
        "runtime/test_steps.py::test_an_exception_after_the_effect_is_unknown_and_not_no",
        "runtime/test_driver.py::test_a_retry_loop_of_the_users_own_around_a_once_tool_makes_one_effect",
        "core/test_address.py::test_ids_are_what_they_always_were",
        "runtime/test_doubt.py::test_a_model_that_tries_again_what_nobody_knows_gets_no_new_key",
    ),
    "R3 classify errors": (
        "e2e/test_requirements_wire.py::test_what_an_error_means_decides_how_often_it_is_tried",
        "models/test_errors.py::test_an_error_calls_for_what_the_table_says",
        "models/test_errors.py::test_the_same_error_within_a_stream_calls_for_the_same",
        "models/test_errors.py::test_the_same_error_with_status_200_is_no_success",
        "core/test_failure.py::test_no_money_is_not_retried_whatever_the_status",
        "core/test_failure.py::test_the_tools_own_table_overrides",
        "runtime/test_judge.py::test_an_answer_that_says_no_is_a_failure",
        "e2e/test_requirements_ladder.py::test_an_answer_that_says_no_is_told_as_a_failure",
        "runtime/test_ladder.py::test_keys_and_money_go_to_whoever_the_agent_names",
        "models/test_escalation.py::test_a_call_goes_on_when_the_account_is_in_order",
    ),
    "R4 exponential backoff with full jitter, always bounded": (
        "runtime/test_steps.py::test_waits_have_full_jitter_within_doubling_bounds",
        "runtime/test_steps.py::test_retry_after_is_a_floor",
        "e2e/test_requirements_retry.py::test_an_http_date_is_a_floor_for_the_next_attempt",
        "runtime/test_steps.py::test_attempts_are_bounded_and_each_is_charged",
        "runtime/test_steps.py::test_the_total_time_of_retries_is_bounded",
        "core/test_policy.py::test_attempts_without_a_usable_bound_are_refused",
    ),
    "R5 one retry owner": (
        "e2e/test_requirements_wire.py::test_the_requests_of_one_logical_call_are_the_attempts_of_one_policy",
        "models/test_retry_owner.py::test_the_wire_sees_our_attempts_whatever_the_sdk_would_do",
        "models/test_retry_owner.py::test_a_retry_loop_around_the_call_adds_no_request",
        "e2e/test_requirements_ladder.py::test_the_requests_of_a_ladder_are_the_attempts_of_its_policies",
        "e2e/test_field_probes.py::test_1_three_attempts_stay_three_over_three_kills",
        "e2e/test_field_probes.py::test_1_three_attempts_of_a_model_call_stay_three_over_three_kills",
        "runtime/test_sharing.py::test_a_read_killed_in_its_retry_has_the_attempts_it_was_given",
        "runtime/test_sharing.py::test_a_run_has_a_bound_of_retries_that_crashes_and_resumes_do_not_lift",
    ),
    "R6 shared retry budget and breaker": (
        "e2e/test_dead_tool.py::test_fifty_processes_share_the_retries_of_a_dead_tool",
        "e2e/test_dead_tool.py::test_fifty_processes_find_a_dead_tool_shut_and_one_of_them_probes",
        "runtime/test_sharing.py::test_an_open_breaker_fails_at_once_as_a_refusal_with_its_reason",
        "runtime/test_breakers.py::test_it_stays_open_when_all_processes_are_new",
        "models/test_breaker.py::test_while_one_model_is_shut_the_next_is_asked_at_once",
        "core/test_breaker.py::test_it_opens_exactly_when_the_share_of_the_window_says_so",
        "core/test_breaker.py::test_whatever_happens_one_probe_in_each_wait_and_never_shut_for_ever",
        "core/test_bucket.py::test_no_more_is_taken_than_capacity_time_and_success_give",
    ),
    "R7 fallback, never silent (models)": (
        "e2e/test_requirements_wire.py::test_another_model_answers_by_a_recorded_decision_and_never_silently",
        "views/test_model.py::test_a_fallback_is_never_silent",
    ),
    "R7 fallback to cached data, never silent": (
        "e2e/test_requirements_ladder.py::test_an_old_result_is_served_within_its_age_and_the_model_is_told",
        "runtime/test_ladder.py::test_an_old_result_never_grows_young",
        "runtime/test_ladder.py::test_an_answer_is_no_outage",
        "core/test_ladder.py::test_law_what_is_served_is_never_older_than_declared",
        "crash/test_ladder_sweep.py::test_every_point_of_a_ladder_with_a_second_kill_in_recovery",
    ),
    "R8 tell the model": (
        "e2e/test_requirements_ladder.py::test_an_answer_that_says_no_is_told_as_a_failure",
        "e2e/test_requirements_ladder.py::test_a_run_does_not_succeed_without_what_must_not_be_missing",
        "runtime/test_ladder.py::test_failures_that_the_agent_swallowed_stand_at_the_end_of_its_run",
    ),
    "R9 kill -9 anywhere": (
        "crash/test_support_sweep.py::test_two_tickets_killed_in_every_kind_of_window",
        "crash/test_support_sweep.py::test_twelve_tickets_killed_at_every_point",
        "crash/test_sweep.py::test_every_point_of_a_round_with_a_second_kill_in_recovery",
        "proof/test_double_kills.py::test_a_sample",
        "crash/test_processes.py::test_a_storm_of_kills",
        "proof/test_storm.py::test_a_sample",
        "proof/test_double_kills.py::test_a_sample",
        "crash/test_planted.py::test_a_planted_bug_is_caught",
    ),
    "R10 intent before effect": (
        "crash/test_sweep.py::test_every_point_of_a_round_with_a_second_kill_in_recovery",
        "crash/test_support_sweep.py::test_two_tickets_killed_in_every_kind_of_window",
        "e2e/test_requirements_effects.py::test_a_once_effect_that_nobody_can_verify_goes_to_a_person",
        "runtime/test_steps.py::test_not_done_is_believed_when_said_twice_settle_apart",
        "runtime/test_doubt.py::test_fifty_doubts_at_random_none_repeated_none_skipped_each_told",
        "runtime/test_doubt.py::test_a_person_decides_where_verify_cannot",
        "e2e/test_senders.py::test_a_sender_that_was_killed_is_settled_at_once",
    ),
    "R11 valid transcript on resume": (
        "e2e/test_requirements_models.py::test_a_run_killed_in_the_middle_of_a_tool_resumes_with_a_valid_transcript",
        "e2e/test_requirements_models.py::test_a_run_killed_in_the_middle_of_a_stream_resumes_with_a_valid_transcript",
        "e2e/test_requirements_models.py::test_the_model_is_told_that_an_effect_is_unverified_and_the_repair_is_kept",
        "models/test_wire.py::test_a_resumed_transcript_is_valid",
    ),
    "R13 single writer with fencing": (
        "proof/test_fencing.py::test_a_sample",
        "cli/test_worker.py::test_several_workers_share_a_store",
        "crash/test_processes.py::test_a_stopped_process_that_wakes_up_changes_nothing",
        "crash/test_processes.py::test_a_process_stopped_in_the_middle_of_an_effect_begins_no_other",
        "crash/test_processes.py::test_two_processes_at_once_on_one_key",
        "runtime/test_worker.py::test_a_worker_that_lost_its_lease_changes_nothing_and_its_code_unwinds",
        "runtime/test_worker.py::test_a_lease_that_ran_out_while_the_process_was_stopped_begins_nothing",
        "journal/test_sqlite.py::test_a_stopped_worker_keeps_its_run_until_the_lease_expires",
        "journal/test_sqlite.py::test_a_killed_worker_is_replaced_at_once",
        "e2e/test_senders.py::test_a_sender_that_is_stopped_past_its_lease_writes_nothing_afterwards",
    ),
    "R14 SIGTERM is resumable": (
        "cli/test_worker.py::test_a_signal_lets_what_is_in_flight_finish_and_gives_its_runs_back",
        "crash/test_processes.py::test_sigterm_in_the_middle_of_an_effect",
        "cli/test_interrupt.py::test_an_effect_in_flight_finishes_and_the_restart_finishes_the_run",
        "cli/test_interrupt.py::test_a_parked_run_is_left_with_its_question_open",
        "runtime/test_worker.py::test_an_effect_that_outlasts_the_drain_is_in_doubt_and_not_repeated",
        "e2e/test_senders.py::test_a_thread_that_never_ends_keeps_the_run_until_its_process_is_gone",
    ),
    "R16 a bounded store": (
        "journal/test_collect.py::test_ten_thousand_runs_fit_into_a_bounded_store",
        "journal/test_collect.py::test_what_may_go_goes_and_nothing_else",
        "journal/test_collect.py::test_cut_short_at_any_write_it_is_done_again",
        "journals/test_upkeep.py::test_what_has_ended_is_forgotten_and_the_rest_is_untouched",
        "core/test_retention.py::test_no_live_run_ever_loses_one_that_it_belongs_to",
        "core/test_retention.py::test_the_accounts_are_the_same_before_and_after",
        "runtime/test_forgotten.py::test_it_never_runs_again",
        "journal/test_migrate.py::test_cut_short_on_its_way_to_postgres_it_is_done_again",
    ),
    "R17 stage output validation": (
        "e2e/test_requirements_ladder.py::test_a_result_that_does_not_pass_never_reaches_the_prompt",
        "runtime/test_judge.py::test_a_result_of_another_type_never_reaches_the_model",
        "runtime/test_judge.py::test_an_effect_whose_result_does_not_pass_is_in_doubt_and_never_made_again",
        "runtime/test_unwind.py::test_a_saga_whose_third_step_fails_is_undone_in_reverse",
        "crash/test_saga.py::test_a_saga_is_killed_in_the_windows_of_its_undoing",
        "e2e/test_unwind.py::test_an_unwinding_by_command_survives_a_kill_in_the_middle_of_an_undo",
        "runtime/test_unwind.py::test_a_budget_that_is_used_up_does_not_keep_anything_from_being_undone",
    ),
    "R18 discoverable prior work (runs)": (
        "memory/test_search.py::test_runs_are_found_by_what_they_did",
        "memory/test_search.py::test_an_agent_finds_what_earlier_runs_did",
        "runtime/test_prior.py::test_a_run_is_told_what_earlier_ones_of_its_agent_did",
        "runtime/test_prior.py::test_what_is_in_doubt_is_told",
        "core/test_prior.py::test_everything_that_a_record_says_is_told",
        "core/test_prior.py::test_it_never_takes_more_than_its_tokens",
        "cli/test_search.py::test_what_is_found_is_shown_with_the_words_marked",
    ),
    "R18 discoverable prior work (projects)": (
        "memory/test_session.py::test_the_brief_of_the_next_session_says_what_was_tried",
        "memory/test_brief.py::test_it_is_the_same_with_the_store_open_and_by_the_directory_alone",
    ),
    "R19 tamper-proof feature list": (
        "memory/test_views.py::test_an_attack_is_told_once_and_put_right",
        "memory/test_session.py::test_views_that_the_agent_edits_are_written_anew_and_it_is_recorded",
        "memory/test_session.py::test_a_check_that_the_agent_edits_is_put_back_and_told",
    ),
    "R20 evidence-gated passes": (
        "memory/test_ground.py::test_what_no_commit_has_makes_no_check_pass",
        "memory/test_ground.py::test_what_is_written_while_the_check_runs_is_in_no_commit_of_it",
        "memory/test_ground.py::test_no_new_file_changes_how_a_pinned_test_runs",
        "memory/test_session.py::test_a_claim_whose_check_fails_stays_false_and_its_work_is_put_aside",
        "memory/test_session.py::test_a_flaky_check_is_marked",
        "memory/test_session.py::test_a_check_in_python_is_one_of_the_file_and_passes_by_true_alone",
    ),
    "R21 one unit per session": (
        "memory/test_session.py::test_all_features_one_session_each_and_then_none",
        "memory/test_session.py::test_a_second_session_in_the_same_tree_is_refused",
        "memory/test_two_harnesses.py::test_two_processes_never_work_on_the_same_feature",
        "proof/test_session_kills.py::test_killed_at_any_point_a_project_ends_whole",
        "examples/test_todo.py::test_ten_features_pass_over_kills_in_every_phase",
    ),
    "R22 start routine owned by the harness": (
        "memory/test_session.py::test_a_feature_that_was_broken_between_sessions_is_the_next_ones_work",
        "memory/test_session.py::test_an_init_that_fails_is_told_to_the_agent",
    ),
    "R23 terminate exactly": (
        "memory/test_session.py::test_all_features_one_session_each_and_then_none",
        "memory/test_session.py::test_sessions_that_change_nothing_stop_and_a_person_is_asked",
        "cli/test_project.py::test_without_progress_it_exits_with_5_and_says_how_to_go_on",
    ),
    "R24 hard caps before the call": (
        "e2e/test_requirements_models.py::test_the_fourth_call_of_thirty_cents_is_never_sent",
        "models/test_wire.py::test_a_call_that_does_not_fit_its_tokens_is_never_sent",
        "models/test_wire.py::test_a_dollar_budget_without_a_price_stops_the_run_until_there_is_one",
        "runtime/test_steps.py::test_the_call_that_does_not_fit_is_never_begun_and_resume_goes_on_at_it",
        "runtime/test_steps.py::test_parallel_calls_cannot_slip_past_the_cap_together",
        "e2e/test_requirements_budget.py::test_a_day_of_one_dollar_pays_for_one_call_of_a_dollar",
        "e2e/test_requirements_budget.py::test_also_among_processes",
        "e2e/test_requirements_budget.py::test_a_model_without_a_price_is_not_asked_under_a_cap_in_dollars",
        "e2e/test_requirements_budget.py::test_a_budget_that_makes_no_sense_is_refused_at_the_start",
        "e2e/test_requirements_budget.py::test_nothing_is_sent_when_the_store_cannot_be_reached",
        "runtime/test_shared_budget.py::test_no_schedule_overshoots_a_cap_or_forgets_a_call",
        "e2e/test_requirements_stops.py::test_the_most_that_a_run_can_cost_is_printed_before_it_starts_and_is_true",
        "core/test_worst.py::test_no_usage_within_the_caps_costs_more",
    ),
    "R25 one budget for a family, across restarts": (
        "e2e/test_requirements_budget.py::test_twenty_children_at_once_use_one_budget",
        "e2e/test_requirements_budget.py::test_reads_of_children_are_paid_before_they_run",
        "e2e/test_requirements_budget.py::test_five_kills_do_not_refill_the_budget_of_a_family",
        "e2e/test_requirements_budget.py::test_a_call_that_an_account_refused_goes_on_where_it_was",
        "e2e/test_requirements_budget.py::test_a_child_without_room_is_told_before_it_is_stopped",
        "e2e/test_requirements_budget.py::test_a_cap_of_all_runs_is_not_answered_by_a_raise_of_one",
        "runtime/test_shared_budget.py::test_no_schedule_overshoots_a_cap_or_forgets_a_call",
    ),
    "R26 correct accounting": (
        "e2e/test_requirements_wire.py::test_payloads_price_to_the_cent_and_a_broken_stream_costs_its_reservation",
        "e2e/test_requirements_wire.py::test_a_model_without_a_price_fails_closed",
        "models/test_corpus.py::test_a_payload_costs_what_was_worked_out_by_hand",
    ),
    "R27 deadlines that bite": (
        "e2e/test_requirements_deadlines.py::"
        "test_whatever_hangs_the_run_ends_with_its_deadline_and_goes_on_at_the_same_step",
        "e2e/test_requirements_deadlines.py::test_a_worker_that_is_killed_takes_the_programs_of_its_tools_along",
        "runtime/test_deadline.py::test_no_attempt_and_no_wait_goes_on_past_the_deadline_of_its_step",
        "runtime/test_deadline.py::test_after_a_crash_the_deadline_of_a_step_counts_from_its_first_begin",
        "runtime/test_deadline.py::test_a_run_is_stopped_when_its_time_is_up_though_a_tool_never_returns",
        "runtime/test_deadline.py::test_the_time_of_a_person_is_not_active_and_ends_with_the_wall_time",
        "runtime/test_deadline.py::test_a_slow_tool_that_beats_lives_and_one_that_stops_beating_does_not",
        "runtime/test_command.py::test_a_tree_that_ignores_every_polite_signal_is_gone_at_its_deadline",
        "runtime/test_command.py::test_a_tree_is_gone_when_our_process_is_killed",
        "runtime/test_isolate.py::test_a_loop_that_never_yields_is_killed",
        "runtime/test_isolate.py::test_a_tree_that_ignores_every_polite_signal_is_gone_at_the_deadline",
    ),
    "R27 deadlines that bite (model calls)": (
        "e2e/test_requirements_wire.py::test_a_deadline_ends_what_never_answers_hangs_or_drips",
        "runtime/test_steps.py::test_the_total_time_of_retries_is_bounded",
    ),
    "R28 loop and no-progress detection": (
        "e2e/test_requirements_stops.py::test_a_run_that_goes_round_is_told_and_stops_with_a_reason_of_its_own",
        "models/test_ending.py::test_a_model_that_goes_round_is_told_and_stopped",
        "runtime/test_stuck.py::test_a_kill_anywhere_changes_nothing_about_it",
        "runtime/test_stuck.py::test_a_person_is_asked_and_may_let_it_go_on",
        "core/test_loops.py::test_what_is_seen_is_there",
    ),
    "R29 structured stop, work kept": (
        "e2e/test_requirements_stops.py::test_a_budget_that_ends_is_seen_coming_and_the_work_goes_on_where_it_was",
        "models/test_ending.py::test_a_model_that_always_asks_for_more_stops_at_its_cap",
        "models/test_ending.py::test_resume_with_more_goes_on_at_the_same_step",
        "core/test_landing.py::test_no_run_passes_its_end_without_a_last_turn",
        "core/test_handover.py::test_it_says_all_that_one_needs_to_go_on",
    ),
    "R30 measured confidence": (
        "e2e/test_requirements_stops.py::test_a_claim_of_99_per_cent_with_a_failing_check_escalates",
        "runtime/test_gating.py::test_a_scorer_that_does_not_measure_does_not_pass",
        "runtime/test_gating.py::test_a_kill_anywhere_changes_nothing_about_it",
        "core/test_confidence.py::test_what_is_no_score_does_not_pass",
    ),
    "R31 one event per decision": (
        "e2e/test_requirements_levers.py::test_from_the_record_alone_every_call_and_the_reason_of_every_branch_can_be_told",
        "views/test_decisions.py::test_each_decision_says_what_was_chosen_and_because_of_what",
        "cli/test_readers.py::test_show_tells_of_a_failed_run_what_was_decided_and_why",
    ),
    "R45 operator levers": (
        "e2e/test_requirements_levers.py::test_levers_on_live_runs_without_a_deploy",
        "e2e/test_requirements_levers.py::test_a_cap_for_all_runs_holds_on_a_live_one_until_there_is_room",
        "cli/test_operator.py::test_a_live_run_obeys_a_switched_off_tool_within_a_second",
        "cli/test_operator.py::test_a_live_run_obeys_a_changed_policy_within_a_second",
        "cli/test_operator.py::test_pause_holds_a_live_run_and_resume_lets_it_go_on",
        "cli/test_operator.py::test_cancel_now_ends_a_live_run_at_once_and_names_what_is_in_doubt",
        "cli/test_operator.py::test_a_live_run_stops_at_a_lowered_cap_and_goes_on_with_a_higher_one",
        "cli/test_operator.py::test_a_lever_on_a_run_that_nobody_drives_counts_for_the_next_process",
        "runtime/test_desk.py::test_an_order_is_done_or_still_lies_there_at_every_write",
        "runtime/test_desk.py::test_operators_at_the_same_time_are_all_recorded",
    ),
    "R35 actually reachable": (
        "e2e/test_requirements_reach.py::test_a_dead_way_keeps_the_next_run_from_asking",
        "e2e/test_requirements_reach.py::test_who_confirms_a_probe_is_reachable_for_all",
        "cli/test_watch.py::test_killed_workers_ask_once_and_who_confirms_is_reached",
        "cli/test_channels.py::test_the_reason_stands_where_people_look",
        "inbox/test_withheld.py::test_while_nobody_can_be_reached_nobody_is_asked",
        "inbox/test_withheld.py::test_after_its_time_the_default_is_taken_and_said_to_be_that",
        "inbox/test_withheld.py::test_what_needs_people_who_can_be_reached_is_not_started_where_nobody_is_told",
        "inbox/test_withheld.py::test_nobody_is_there_or_nobody_is_named",
        "inbox/test_evidence.py::test_an_accepted_notice_proves_nothing_and_an_answer_does",
        "inbox/test_watch.py::test_each_way_is_asked_about_once_and_who_confirms_is_reachable",
        "inbox/test_heartbeat.py::test_what_is_wrong_is_told_and_then_not_that_all_is_well",
        "core/test_reach.py::test_reachable_is_never_said_of_what_nobody_took",
    ),
    "R36 durable, and answerable from elsewhere": (
        "e2e/test_requirements_people.py::test_it_is_asked_killed_deployed_and_answered_from_elsewhere",
        "e2e/test_requirements_people.py::test_a_hundred_people_answer_at_once_and_one_of_them_counts",
        "runtime/test_approving.py::test_three_days_and_a_deploy_later_it_goes_on_once",
        "runtime/test_approving.py::test_the_first_answer_counts_and_the_others_are_told_whose_it_was",
        "runtime/test_approving.py::test_an_answer_after_the_end_is_too_late",
    ),
    "R37 nobody answers": (
        "inbox/matrix/test_failures.py::test_it_ends_in_a_decision_or_in_the_default",
        "inbox/matrix/test_failures.py::test_where_nothing_works_at_all_the_default_is_taken",
        "core/test_chain.py::test_levels_repeat_and_the_end",
        "core/test_chain.py::test_while_nobody_can_be_told_it_is_tried_again_at_ever_longer_pauses",
        "inbox/test_chain.py::test_the_next_level_is_told_when_nobody_answers",
        "inbox/test_chain.py::test_that_nobody_could_be_told_is_another_outcome_than_that_nobody_answered",
        "inbox/test_chain.py::test_whoever_acknowledges_is_left_in_peace",
        "runtime/test_approving.py::test_silence_is_no_agreement_and_is_told_apart_from_a_no",
    ),
    "R38 bound approvals": (
        "runtime/test_approving.py::test_a_thousand_approvals_that_come_too_late_have_no_effect",
        "runtime/test_approving.py::test_a_thousand_altered_approvals_have_no_effect",
        "runtime/test_approving.py::test_what_was_changed_after_the_approval_is_not_done",
        "core/test_approval.py::test_the_digest_covers_every_field",
        "core/test_approval.py::test_whatever_differs_is_asked_anew",
        "core/test_approval.py::test_an_approval_out_of_its_time_is_asked_for_anew",
        "core/test_approval.py::test_a_grant_is_for_one_step",
        "runtime/test_approving.py::test_each_call_is_asked_about_by_itself",
        "proof/test_simulation.py::test_effects_that_need_an_approval_have_one",
    ),
    "R39 reviewer load": (
        "core/test_load.py::test_ten_thousand_questions_at_once_are_twenty_notices_and_one_digest",
        "inbox/test_attention.py::test_of_questions_that_are_alike_one_notice_is_sent_and_all_are_listed",
        "inbox/test_attention.py::test_the_count_is_in_the_store_and_not_in_a_process",
        "views/test_stats.py::test_what_waits_is_counted_by_whom_it_was_put_to",
        "cli/test_inbox.py::test_stats_say_how_much_waits_and_how_people_answer",
        "web/test_whose.py::test_the_page_says_how_much_waits_and_how_people_answer",
    ),
    "S1 only what is stored and pending is decided": (
        "core/test_approval.py::test_a_thousand_forged_answers_are_refused",
        "runtime/test_approving.py::test_a_thousand_forged_approvals_have_no_effect",
        "web/test_site.py::test_a_thousand_forged_answers_do_nothing",
        "runtime/test_approving.py::test_an_answer_that_names_something_else_counts_for_nothing",
    ),
    "S2 the digest of what is done": (
        "core/test_approval.py::test_the_digest_covers_every_field",
        "core/test_approval.py::test_no_two_subjects_share_a_digest_by_their_borders",
        "core/test_approval.py::test_an_absent_argument_is_not_null",
    ),
    "S3 single use": (
        "e2e/test_requirements_people.py::test_a_hundred_people_answer_at_once_and_one_of_them_counts",
        "runtime/test_approving.py::test_a_thousand_replayed_approvals_have_no_further_effect",
        "runtime/test_approving.py::test_a_list_is_asked_about_once_and_each_call_of_it_is_made_once",
        "runtime/test_approving.py::test_a_crash_at_any_write_pays_once_or_asks_whether_it_was",
    ),
    "S4 looking decides nothing": (
        "web/test_site.py::test_a_scanner_that_gets_everything_decides_nothing",
        "web/test_browser.py::test_a_bot_that_runs_scripts_and_clicks_every_link_decides_nothing",
        "web/test_site.py::test_the_token_is_of_one_session_one_question_and_one_digest",
        "web/test_guard.py::test_a_form_counts_only_from_a_page_of_ours",
        "web/test_guard.py::test_every_answer_forbids_what_others_could_do_with_it",
    ),
    "S5 links identify and do not authenticate": (
        "web/test_site.py::test_a_link_shows_nothing_to_who_is_not_signed_in",
        "web/test_site.py::test_codes_cannot_be_tried",
    ),
    "S6 tokens": (
        "web/test_login.py::test_a_code_is_for_one_name_and_counts_once",
        "web/test_session.py::test_a_token_is_for_one_session_and_one_thing",
        "web/test_session.py::test_a_session_ends_in_time_or_when_it_is_ended",
    ),
    "S8 who may answer": (
        "runtime/test_approvers.py::test_nobody_answers_who_may_not_and_the_question_stays_open",
        "runtime/test_approvers.py::test_whoever_came_in_later_may_not_and_whoever_left_may_not_either",
        "runtime/test_approvers.py::test_whoever_left_between_their_word_and_the_effect_is_not_heard",
        "runtime/test_approvers.py::test_who_asks_for_a_run_does_not_approve_what_it_does",
        "runtime/test_approvers.py::test_two_must_agree_one_after_the_other_until_the_same_moment",
        "core/test_approvers.py::test_the_digest_covers_who_may_agree",
        "web/test_whose.py::test_who_may_not_answer_is_told_so_and_their_form_is_refused",
        "cli/test_inbox.py::test_who_may_not_answer_is_refused_and_told_who_may",
    ),
    "S9 what an approval is worth": (
        "e2e/test_requirements_people.py::test_a_program_of_another_user_cannot_approve",
        "cli/test_serve.py::test_it_says_that_approvals_are_advisory_where_the_agent_could_write_them",
        "web/test_whose.py::test_the_page_says_what_an_approval_is_worth",
        "cli/test_inbox.py::test_who_may_not_answer_is_refused_and_told_who_may",
        "cli/test_secret.py::test_what_a_tool_starts_has_no_secret_of_a_channel",
    ),
    "S10 the attention of people is bounded": (
        "core/test_load.py::test_ten_thousand_questions_at_once_are_twenty_notices_and_one_digest",
        "inbox/test_attention.py::test_of_a_flood_so_many_are_told_then_one_digest_and_the_urgent_by_themselves",
        "inbox/test_attention.py::test_of_questions_that_are_alike_one_notice_is_sent_and_all_are_listed",
        "views/test_stats.py::test_who_approves_everything_is_told_and_who_does_not_is_not",
    ),
    "S7 buttons in a chat": (
        "web/test_slack.py::test_what_is_not_signed_now_with_our_secret_is_nothing",
        "web/test_slack.py::test_a_repeated_request_says_nothing_new",
        "web/test_slack.py::test_other_workspaces_and_apps_are_nobody",
        "web/test_slack.py::test_who_is_not_in_the_file_now_may_do_nothing",
        "web/test_slack_socket.py::test_other_workspaces_are_nobody_here_too",
        "cli/test_chat.py::test_a_worker_tells_hears_and_goes_on",
    ),
    "S11 facts are ours, and the agent's words in their box": (
        "views/test_sheet.py::test_the_agents_words_reach_no_title_no_button_and_no_reason_of_ours",
        "web/test_page.py::test_the_agents_words_stand_in_their_box_alone",
        "cli/test_inbox.py::test_the_agents_words_stand_apart_and_are_marked",
        "inbox/test_chain.py::test_what_leaves_is_in_our_words",
    ),
    "S12 text that is safe to show": (
        "cli/test_inbox.py::test_hostile_text_steers_no_terminal",
        "views/test_sheet.py::test_all_of_the_arguments_is_shown_and_none_of_it_steers",
        "views/test_sheet.py::test_long_values_are_marked_and_not_cut",
        "web/test_site.py::test_what_is_long_is_opened_before_it_is_approved_also_without_a_script",
        "web/test_slack.py::test_what_is_not_shown_in_full_cannot_be_approved",
    ),
    "S13 what is drawn alike is named": (
        "views/test_skeleton.py::test_each_line_of_the_table_is_alike",
        "views/test_skeleton.py::test_what_is_taken_for_each_other_is_alike",
        "views/test_script.py::test_what_may_deceive_is_named",
        "views/test_values.py::test_what_is_drawn_like_last_time_and_is_another_is_named",
        "views/test_values.py::test_a_tool_whose_name_deceives_is_named",
    ),
    "S14 markup is text": (
        "web/test_page.py::test_what_strangers_write_is_text_and_nothing_else",
        "web/test_page.py::test_whatever_a_template_writes_is_made_safe",
        "inbox/test_slack.py::test_names_are_no_markup",
        "web/test_slack.py::test_arguments_are_shown_as_they_are",
        "inbox/test_email.py::test_a_title_with_line_ends_cannot_be_a_header",
    ),
    "S15 what is shown is what the tool gets": (
        "views/test_values.py::test_what_is_shown_is_what_the_tool_gets",
        "views/test_values.py::test_two_values_are_not_drawn_as_one",
        "views/test_values.py::test_names_that_a_reader_takes_for_one_are_named",
        "views/test_values.py::test_a_number_is_shown_in_all_its_digits",
        "models/test_toolset.py::test_what_a_model_gets_wrong_is_told_to_it_and_begins_nothing",
    ),
    "S16 what cannot be explained is called uninspectable": (
        "core/test_opaque.py::test_what_an_interpreter_would_run_is_uninspectable",
        "runtime/test_approvers.py::test_what_nobody_can_read_off_its_arguments_needs_more_people",
        "web/test_site.py::test_a_command_is_opened_first_and_last_time_is_beside_it",
        "cli/test_inbox.py::test_a_command_is_marked_and_last_time_stands_beside_it",
    ),
    "S19 what is searched for is a value, and an unknown filter an error": (
        "memory/test_search.py::test_no_text_gets_rows_that_were_not_asked_for",
        "core/test_query.py::test_an_unknown_filter_is_an_error_that_names_the_known_ones",
        "core/test_query.py::test_a_value_of_no_meaning_is_an_error",
        "cli/test_search.py::test_what_cannot_be_asked_is_a_usage_error",
        "memory/test_search.py::test_another_tenant_finds_nothing_of_it",
    ),
    "S27 where a webhook may go": (
        "inbox/test_guard.py::test_what_is_not_public_is_refused",
        "inbox/test_guard.py::test_however_it_is_written",
        "inbox/test_guard.py::test_a_name_that_means_something_else_a_moment_later_changes_nothing",
        "inbox/test_guard.py::test_a_redirect_is_an_answer_like_any_other",
        "inbox/test_guard.py::test_one_byte_at_a_time_is_no_answer_in_time",
    ),
    "S28 webhooks are signed": (
        "inbox/test_webhook.py::test_the_published_example",
        "inbox/test_webhook.py::test_what_is_altered_or_old_is_nobodys_word",
        "inbox/test_webhook.py::test_a_secret_may_be_changed_while_both_count",
    ),
    "S29 the page of this machine": (
        "web/test_guard.py::test_only_its_own_names_are_answered",
        "web/test_guard.py::test_a_form_counts_only_from_a_page_of_ours",
        "cli/test_serve.py::test_what_would_open_it_by_mistake_is_refused",
    ),
    "S32 breaker and retries per tenant and tool": (
        "runtime/test_breakers.py::test_two_tenants_share_neither_breaker_nor_retries",
        "e2e/test_dead_tool.py::test_fifty_processes_find_a_dead_tool_shut_and_one_of_them_probes",
    ),
    "S36 an agent cannot widen its own terms": (
        "runtime/test_desk.py::test_an_agent_cannot_order_anything_for_itself",
        "runtime/test_policies_three_ways.py::test_what_file_and_flags_state_is_in_the_record_and_a_change_of_it_is_decided",
    ),
    "S37 what is privileged is audited": ("cli/test_operator.py::test_the_desk_records_who_did_what_and_why",),
}


@cache
def found_in(file: str) -> dict[str, str | None]:
    """The tests of a file, with what each says that would be lost."""
    tree = parsed(TESTS / file)
    found = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {node.name: ast.get_docstring(node) for node in found if node.name.startswith("test_")}


@pytest.mark.parametrize("requirement", SHOWN_BY)
def test_each_named_test_exists_and_says_what_would_be_lost(requirement: str) -> None:
    """A requirement whose test is gone is a claim without a proof."""
    for shown_by in SHOWN_BY[requirement]:
        file, _, name = shown_by.partition("::")
        assert found_in(file).get(name), f"{requirement}: {shown_by} does not exist, or does not say why"


def test_no_test_is_named_for_a_requirement_and_missing_here() -> None:
    """A test that was written for a requirement would not be found by those who ask for it."""
    listed = {shown_by for named in SHOWN_BY.values() for shown_by in named}
    files = sorted(TESTS.glob("e2e/test_requirements_*.py"))
    there = {f"e2e/{file.name}::{name}" for file in files for name in found_in(f"e2e/{file.name}")}
    assert there and there <= listed
