"""What the regulation side writes."""

from i2r.stages.outputs import Files, table

_VOCABULARY = """
    name: text: A name that occurs in tables
    symbol: text: The gene's symbol for it
    kind: text: What kind of name: symbol, alias, or identifier of a database
"""

_SETS = """
        collection: text: The collection of gene sets
        gene_set: text: The gene set
        size: whole: Genes of the set in the universe
        overlap: whole: Genes in common
        odds_ratio: number: Of Fisher's exact test
        p_value fdr
        genes: text: The genes in common
        universe: whole: Genes that could have been in both
"""

INTERACTOME = (
    table("", "One row per gene of the network.", """
        gene
        degree: whole: Interactions in the network
        prize terminal
        change: number: Change of expression, as a log fold change
        stability: number: Part of the near-optimal trees that hold it
        frequency: number: Part of the trees with noise that hold it
        frequency_random: number: The same with prizes shuffled among genes
        labelled_wells?: whole: Wells whose layout names the gene
    """),
    table("-edges", "One row per interaction of the network.", """
        gene1: text: One gene
        gene2: text: The other gene
        cost
        in_tree: flag: Whether the tree holds it
    """),
    table("-sweep", "One row per value of beta, the weight of prizes.", """
        beta: number: Weight of prizes
        genes: number: Genes of the tree
        edges: number: Edges of the network on these genes
        targets: number: Targets that the tree holds
        screened: number: Genes of the screen that the tree holds, targets or not
        leaves: number: Leaves of the tree
        components: number: Connected parts of the network among the tree's genes
        communities: number: Communities of that network (Louvain); missing for a large one
        mean_degree: number: Mean degree in that network
        degree_sd: number: Standard deviation of these degrees
        overlap: number: Genes shared with the network of the beta before, of all in either
        value: number: Costs and lost prizes of the tree
        lower_bound: number: What no tree can be below
        gap: number: How far the value may be above the best, relative to it
        chosen: flag: Whether this beta was taken
    """),
    table("-members", "One row per value of beta and gene of its tree.", """
        beta: number: Weight of prizes
        gene
    """, sometimes=True),
    table("-trees", "One row per tree that is compared with the one taken.", """
        tree: text: How it was made
        genes: whole: Genes that it holds
        targets: whole: Targets that it holds
        value: number: Costs and lost prizes
        gap: number: How far the value may be above the best, relative to it
        overlap: number: Jaccard index of its genes with the taken tree's
    """),
    table("-confidence", "One row per cut of the interactions' confidence.", """
        cut: number: Least confidence
        edges: whole: Interactions that are left
        genes: whole: Genes that are left
        targets: whole: Targets that are left
    """),
    table("-hubs", "One row per quantile of degrees.", """
        quantile: number: Of the degrees
        degree: number: Most interactions at it
        hubs: whole: Genes with more
        genes: whole: Genes that are left without them
        edges: whole: Interactions that are left
        targets: whole: Targets that are left
    """),
    table("-pruning", "One row per step from the interactions to the network.", """
        step: text: What was done
        genes: whole: Genes that are left
        edges: whole: Interactions that are left
        targets: whole: Targets that are left
        note
    """),
    table("-expression", "One row per gene: change of expression between two groups.", """
        gene
        log_fold_change: number: Difference of means, log2
        t: number: Moderated t statistic
        p_value fdr prize
    """, sometimes=True),
    table("-dropped", "One row per gene of the inputs that was not used.", """
        symbol: text: Its name in the input
        reason
    """),
    table("-symbols", "One row per name that was read as another.", """
        table: text: The input
        name: text: The name in it
        symbol: text: What it was read as
        how: text: By which rule
    """),
    table("-vocabulary", "One row per name of a gene that the inputs know.", _VOCABULARY),
    table("-pruned", "One row per gene of the pruned network.", """
        gene prize terminal
        change: number: Change of expression, as a log fold change
    """, sometimes=True),
    table("-pruned-edges", "One row per interaction of the pruned network.", """
        first: whole: Row of one gene in the table of genes, from 0
        second: whole: Row of the other
        cost
    """, sometimes=True),
    Files("network", "networks/STAGE.graphml", "nodes: prize, terminal; edges: cost"),
)  # fmt: skip

GENES = (
    table("", "One row per gene of the network: its embedding.", "gene e{i}"),
    table("-heldout", "One row per held-out and other gene: embeddings without its links.", """
        held_out: text: The gene whose links were left out
        gene e{i}
    """, sometimes=True),
    table("-seeds", "One row per gene and training: its embedding.", """
        gene e{i}
        held_out: text: The gene whose links were left out; empty for none
    """),
    table("-clusters", "One row per gene.", """
        gene cluster
        silhouette: number: Of the gene in its cluster
        degree: whole: Interactions in the network
    """),
    table("-curves", "One row per number of clusters.", """
        k: whole: Number of clusters
        silhouette: number: Mean silhouette
        calinski_harabasz: number: Calinski and Harabasz's index
        distortion: number: Mean squared distance to the cluster's centre
        chosen: flag: Whether this number was taken
    """),
    table("-enrichment", "One row per cluster and gene set with genes in common.", f"""
        cluster
        {_SETS}
    """),
    table("-background", "One row per gene set with genes of the network, beside the pruned "
          "interactome that the network was chosen from.", _SETS),
    table("-neighbours", "One row per gene and gene set that is frequent among its nearest genes.",
          f"""
        gene
        {_SETS}
    """),
    table("-genes", "One row per gene of the network.", """
        gene
        degree: whole: Interactions in the network
        has_features: flag: Whether the table of features knows it
    """),
    table("-quality", "One row per training and kind of held-out link.", """
        method
        held_out: text: What was held out
        auc: number: Area under the ROC curve of held-out links
        average_precision: number: Of held-out links
        best_epoch: whole: The pass whose weights were kept
        seed
    """),
    table("-stability", "One row per pair of trainings.", """
        seed_a: whole: Seed of one training
        seed_b: whole: Seed of the other
        ari: number: Adjusted Rand index of their clusters
        ami: number: Adjusted mutual information of their clusters
        neighbour_overlap: number: Part of nearest genes in common
        rank_spread: number: Mean difference of ranks by similarity
    """),
    table("-agreement", "One row per pair of numbers of clusters: do trainings agree.", """
        k_a: whole: Clusters of one training
        k_b: whole: Clusters of the other
        ami: number: Adjusted mutual information, mean over pairs of trainings
    """),
    table("-training", "One row per training and pass.", """
        epoch: whole: Number of the pass
        training: number: Loss in training
        validation: number: Loss of the validation links, and of the rest; missing without
        training_{part}: number: Its part before it is weighted: links, features or labels
        validation_{part}: number: The same of the validation loss
        seed
    """),
    table("-vocabulary", "One row per name of a gene that the inputs know.", _VOCABULARY),
)  # fmt: skip

MAP = (
    table("", "One row per gene that was left out: where it was found.", """
        gene rank
        candidates: whole: Genes that were ranked
        nearest: text: The gene at the first place
        configuration: text: Options that were chosen without the gene
        rank_{baseline}: number: Rank by a baseline, or by options chosen on what is reported
    """),
    table("-scores", "One row per method and selection: how good the ranks are.", """
        method selection
        genes: whole: Genes that were left out in turn
        candidates: whole: Genes that were ranked
        median_rank: number: Median rank of the left-out genes
        mean_reciprocal_rank: number: Mean of 1 / rank
        top_decile: number: Part of genes in the first tenth
        log_score: number: Mean of -log of relative ranks
        log_score_low: number: Lower end of its interval
        log_score_high: number: Upper end of its interval
        log_score_chance: number: What guessing gives
        auc_{k}: number: Area under the curve of k-nearest accuracy up to k
        p_chance: number: p-value beside guessing
        p_permutation: number: p-value beside shuffled links
        p_auc_50: number: p-value of auc_50 beside shuffled links
        p_top_decile: number: p-value of top_decile beside shuffled links
        hub_skewness: number: Skewness of how often genes are among the nearest
        {further}?: number: A further score
    """),
    table("-curves", "One row per method, selection and k.", """
        method selection
        k: whole: Nearest genes that are looked at
        accuracy: number: Part of left-out genes among them
        low: number: Lower end of its interval
        high: number: Upper end of its interval
    """),
    table("-grid", "One row per combination of options.", """
        configuration: text: The options
        published: flag: Whether they are those of the paper
        auc_20: number: Area under the curve of k-nearest accuracy up to 20
        auc_50: number: The same up to 50
        log_score: number: Mean of -log of relative ranks
    """),
    table("-nearest", "One row per left-out gene and candidate at the first places.", """
        gene
        place: whole: Place of the candidate, from 1
        candidate
        score: number: Similarity, higher is nearer
        is_true: flag: Whether the candidate is the gene
    """),
    table("-hubs", "One row per candidate.", """
        candidate
        occurrences: whole: Left-out genes that have it among the nearest
    """),
    table("-places", "One row per candidate and prediction, in two dimensions, for pictures.", """
        kind: text: candidate, left out (a candidate that was), or predicted
        gene
        x: number: First principal component of the candidates
        y: number: Second principal component
    """),
    table("-coclustering", "One row per pair of numbers of clusters: do both spaces join genes.",
          """
        clusters_seen: whole: Clusters of the perturbation embeddings
        clusters_regulatory: whole: Clusters of the regulatory embeddings
        mutual_information: number: Of both clusterings, in nats
        p_value
    """),
    table("-methods", "One row per method and selection: does it favour hubs.", """
        method selection
        hub_skewness: number: Skewness of how often genes are among the nearest
        hub_top_share: number: Part of the nearest places that the most frequent genes take
    """, sometimes=True),
    table("-null", "One row per shuffling of links and gene.", """
        draw: whole: Number of the shuffling
        gene rank
    """),
    table("-inputs", "One row per gene that the map learned from.", """
        gene {feature}
    """),
    table("-dropped", "One row per gene that could not be used.", "gene reason"),
)  # fmt: skip

PREDICT = (
    table("", "One row per query and gene at the first places.", """
        query: text: Name of the query
        place: whole: Place of the candidate, from 1
        candidate
        score: number: Similarity, higher is nearer
        confidence: number: Calibrated probability that it is the gene
        in_set: flag: Whether it is of the set that holds the gene at the coverage asked for
        beyond_network: flag: Whether it is not of the network that the map learned from
    """),
    table("-queries", "One row per query: whether it is answered, and how surely.", """
        query: text: Name of the query
        gene
        answer: text: ranked or abstained
        reason
        best: text: The candidate at the first place
        p_query: number: p-value that the query is unlike what the map learned from
        p_map: number: p-value that the map tells nothing
        set_size: whole: Candidates of the set
        n_candidates: whole: Candidates that were ranked
        rank_true: number: Place of the true gene, where it is known
        in_set: flag: Whether the set holds the true gene
        left_out: flag: Whether the map had learned from the gene, and was learned without it
        n_nuclei: number: Number of nuclei; missing where queries are rows of a table
        compared_with: text: Controls that the query's features are relative to
        impactful: flag: Whether the screen calls it
    """),
    table("-curves", "One row per kind of query and k: top-k accuracy where the gene is known.", """
        queries: text: new (the map never learned from the gene), or left out
        count: whole: Queries of this kind whose gene is a candidate
        k: whole: Nearest genes that are looked at
        accuracy: number: Part of queries whose gene is among them
        low: number: Lower end of its interval
        high: number: Upper end of its interval
        chance: number: What guessing gives
    """),
    table("-profiles", "One row per query: the features that it is found by.", """
        query: text: Name of the query
        gene encoder
        n_nuclei: number: Number of nuclei; missing where queries are rows of a table
        {feature}
    """),
)  # fmt: skip

REPORT = (
    Files("report", "report.html and report/", "HTML, and the tables behind its figures as CSV"),
)  # fmt: skip
