"""What the screen writes."""

from i2r.stages.outputs import Files, table

SCREEN = (
    table("", "One row per condition and set of control wells, best first.", """
        rank: whole: Place, the impactful first, then by score, from 1; 0 for sets of control wells
        condition perturbation gene dose
        kind: text: treated, positive_control, or control_draw for a set of control wells
        score: number: Mean held-out balanced accuracy over folds; 0.5 for nothing learned
        spread: number: Standard deviation of that accuracy over folds
        ci_low: number: Lower end of the score's 95 % interval, for wells like these
        ci_high: number: Upper end of that interval
        auc: number: Mean held-out area under the ROC curve
        p_value fdr
        impactful: flag: Whether the stage's rule calls it
        n_folds: whole: Folds that gave a score
        n_wells n_nuclei
        feature: text: The feature that moved most; empty for networks
        change: number sd: By how much, in standard deviations of control wells
        explained: text: What a call may be owed to: own, count, focus, dna or position
        p_place: number: p-value with places left in
        p_count: number: p-value with the number of nuclei taken out
        count_change: number: Change of the number of nuclei per field, in doublings
        count_p: number: p-value of that change
        count_fdr: number: False discovery rate of that change
        p_focus: number: p-value with the focus of the fields taken out; empty without 'quality'
        focus_change: number sd: Change of the focus beyond what the number of nuclei does
        focus_p: number: p-value of that change
        p_dna: number: p-value with the DNA content of nuclei taken out; empty where not measured
        dna_change: number sd: Change of the DNA content, in standard deviations of control wells
        dna_p: number: p-value of that change
        position_calls: number: Part of nuclei called in controls at its positions, beyond others
        shape: text: How its wells lie: wells per position
        note
    """),
    table("-folds", "One row per condition and well, or field: the fold that holds it out.", """
        condition
        kind: text: As in the table of conditions
        plate well field is_treated fold
    """),
    table("-scores", "One row per condition and fold.", """
        condition
        kind: text: As in the table of conditions
        fold
        balanced_accuracy: number: Of the held-out nuclei
        auc: number: Area under the ROC curve of the held-out nuclei
        n_test_treated: whole: Held-out nuclei of the condition
        n_test_control: whole: Held-out nuclei of controls
        note
    """),
    table("-calls", "One row per condition and well: how its held-out nuclei were called.", """
        condition plate well is_treated n_nuclei
        n_called: whole: Nuclei that were called treated
    """),
    table("-statistics", "One row: how scores became p-values.", """
        method
        group: text: What was held out whole
        is_leaking: flag: Whether held-out nuclei may have been seen in training
        teacher: text: Stage that trained the encoder on this screen's labels; empty for none
        layout_repeats: flag: Whether all plates have one layout
        impactful: text: The rule of the column impactful
        tail: text: Model of small p-values: exponential or student
        n_shapes: whole: Ways in which conditions' wells lie, each with a null of its own
        n_draws: whole: Draws of the null
        n_independent: whole: Independent sets of control wells of the most frequent shape
        n_drawn_wells: whole: Wells of one such set
        n_tests: whole: Treated conditions with a p-value
        needed: number: p-value at which a single condition would be called
        freedom: number: Degrees of freedom of the noise
        displaced: number: How far controls lie from the middle of all conditions
        field: number: Part of the variance of wells that smooth fields over plates explain
        common: number: Part that positions explain that plates repeat
        doses_along: text: rows or columns, where doses rise along them; empty elsewhere
        borrows: flag: Whether noise is estimated from conditions as well
        warning: text: What the layout can't answer; empty for nothing
    """),
    table("-left-out", "One row per well, field or condition that was not compared.", """
        what: text: well, field or condition
        where: text: Its name
        reason
    """),
    table("-features", "One row per condition and feature that moved, up to ten of each.", """
        condition
        place: whole: 1 for the feature that moved most
        feature: text: Name of the feature
        change: number sd: Change, in standard deviations of control wells
        low: number sd: Lower end of its 95 % interval
        high: number sd: Upper end of its 95 % interval
        direction: text: up or down
    """, sometimes=True),
    table("-wells", "One row per well: what it counted for its condition.", """
        plate well condition n_nuclei
        share: number: Its part in the condition's mean
    """, sometimes=True),
    table("-genes", "One row per gene with several reagents.", """
        gene
        n_reagents: whole: Reagents of the gene that were compared
        n_called: whole: Reagents that are impactful
        p_value fdr
        best: text: The condition with the least p-value
        agreement: number: How alike the reagents' changes are, -1 to 1
    """),
    table("-tests", "One row per condition: the fast screen's tests, before the ranking.", """
        condition p_value
        feature: text: As in the table of conditions
        change: number sd: As in the table of conditions
        explained: text: As in the table of conditions
        p_place: number: As in the table of conditions
        p_count: number: As in the table of conditions
        count_change: number: As in the table of conditions
        count_p: number: As in the table of conditions
        p_focus: number: As in the table of conditions
        focus_change: number sd: As in the table of conditions
        focus_p: number: As in the table of conditions
        p_dna: number: As in the table of conditions
        dna_change: number sd: As in the table of conditions
        dna_p: number: As in the table of conditions
        test_note: text: What else there is to know of the test
    """, sometimes=True),
    table("-layout", "One row: what the layout can answer, as in the table of statistics.", """
        n_draws: whole: Draws of the null
        freedom: number: Degrees of freedom of the noise
        displaced: number: How far controls lie from the middle of all conditions
        field: number: Part of the variance of wells that smooth fields over plates explain
        common: number: Part that positions explain that plates repeat
        doses_along: text: rows or columns, where doses rise along them; empty elsewhere
        borrows: flag: Whether noise is estimated from conditions as well
        warning: text: What the layout can't answer; empty for nothing
    """, sometimes=True),
    Files("networks of 'published'", "models/STAGE/CONDITION/FOLD.pt", "PyTorch state"),
)  # fmt: skip
