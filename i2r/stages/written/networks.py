"""What training and embedding write."""

from i2r.stages.outputs import Files, table

_WHERE = "view fold without"

TRAIN = (
    table("", "One row per training.", f"""
        unit: text: Name of the unit, as in `i2r status`
        {_WHERE}
        start: text: Weights that it started from; empty for random ones
        note
        n_classes: whole: Classes that it tells apart
        n_train: whole: Nuclei of the training
        n_validation: whole: Nuclei that decided when to stop
        n_test: whole: Nuclei of the held-out fold
        n_epochs: whole: Passes over the training nuclei
        best_epoch: whole: The pass whose weights were kept
        train_balanced_accuracy: number: Of the training nuclei
        validation_balanced_accuracy: number: Of the nuclei that decided when to stop
        test_balanced_accuracy: number: Of the held-out nuclei
        chance: number: What guessing gives
        null_mean: number: Mean accuracy with wells' classes shuffled
        null_high: number: 95th percentile of that accuracy
        p_value
    """),
    table("-epochs", "One row per training and pass over the nuclei.", f"""
        {_WHERE}
        epoch: whole: Number of the pass, from 1
        learning_rate: number: Of the optimiser
        train_loss: number: Mean loss of the training nuclei
        train_balanced_accuracy: number: Of the training nuclei
        validation_loss: number: Mean loss of the validation nuclei
        validation_balanced_accuracy: number: Of the validation nuclei
    """),
    table("-confusion", "One row per training, part and pair of classes.", f"""
        {_WHERE}
        part: text: train, validation or test
        true: text: Class of the wells
        predicted: text: Class that the network called
        n_nuclei
        share: number: Part of the true class's nuclei
    """),
    table("-splits", "One row per training and well: which part it was of.", f"""
        {_WHERE}
        plate well class
        part: text: train, validation or test
        n_nuclei
    """),
    table("-predictions", "One row per training and held-out nucleus.", f"""
        {_WHERE}
        plate well crop
        true: text: Class of the well
        predicted: text: Class that the network called
        probability: number: That the network gives its call
    """),
    table("-surest", "One row per training, class and surest nucleus, with what it rests on.", f"""
        {_WHERE}
        plate well crop
        true: text: Class of the well
        predicted: text: Class that the network called
        probability: number: That the network gives its call
        occlusion_nucleus: list: Loss of probability by the square of the nucleus that is hidden
        occlusion_region: list: The same for the region around it; empty without one
        region: list: Pixels of the region; empty without one
    """),
    Files("encoders", "models/STAGE/UNIT.pt", "PyTorch state, with settings and scaling"),
)  # fmt: skip

EMBED = (
    table("", "One row per well: mean of its nuclei's embeddings.", """
        encoder plate well condition perturbation gene role n_nuclei e{i}
    """),
    table("-genes", "One row per class: mean of its wells.", """
        encoder class gene
        is_control: flag: Whether it is of negative controls
        n_wells n_nuclei e{i}
    """),
    table("-clusters", "One row per class: its place in the tree of classes.", """
        encoder class cluster
        order: whole: Place along the tree's leaves, from 0
    """),
    table("-curves", "One row per number of clusters.", """
        encoder
        n_clusters: whole: Number of clusters
        silhouette: number: Mean silhouette of the classes
        null_silhouette: number: The same for classes drawn at random
        calinski_harabasz: number: Calinski and Harabasz's index
    """),
    table("-reproducibility", "One row per class: do its wells find each other.", """
        encoder class n_wells
        precision_controls: number: Mean average precision beside control wells
        null_mean_controls: number: Its mean with labels shuffled
        p_value_controls: number: p-value of it
        precision_others: number: Mean average precision beside wells of other classes
        null_mean_others: number: Its mean with labels shuffled
        p_value_others: number: p-value of it
        fdr_controls: number: False discovery rate beside controls
        fdr_others: number: False discovery rate beside others
        note: text: Why there is no p-value; empty where there are both
    """),
    table("-umap", "One row per well in two dimensions, for pictures.", """
        encoder plate well class
        method: text: umap or pca
        x: number: First coordinate
        y: number: Second coordinate
    """),
    table("-nuclei", "One row per nucleus of imported embeddings.", """
        plate well field label crop
    """, sometimes=True),
    Files("embeddings", "embeddings/STAGE/PLATE.zarr/WELL", "(nucleus, dimension), float32"),
)  # fmt: skip
