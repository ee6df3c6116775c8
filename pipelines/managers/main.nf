#!/usr/bin/env nextflow
// A process per plate, from raw images to features, and one for the screen of all plates.
//
//   nextflow run .../managers/main.nf --plates P1,P2 --images images.yaml --screen screen.yaml
//       --outdir /shared/screen [--options '--array 50 --cluster slurm.yaml']
//
// images.yaml and screen.yaml are those of the Snakefile beside this file. Experiments lie in
// outdir, not in Nextflow's work folder, so that a process that runs again goes on where it stopped.
nextflow.enable.dsl = 2

params.options = '--cluster none'
params.outdir = "${launchDir}/i2r"
params.cpus = 4

process PLATE {
    tag "$plate"
    cpus params.cpus
    errorStrategy { task.exitStatus in [1, 2] ? 'terminate' : 'retry' }
    maxRetries 2

    input:
    val plate

    output:
    path "${plate}.parquet"

    script:
    """
    mkdir -p '${params.outdir}/plates'
    sed 's/@PLATE@/${plate}/g' '${file(params.images)}' > '${file(params.images)}.${plate}.yaml'
    '${projectDir}/run-i2r.sh' '${file(params.images)}.${plate}.yaml' \\
        '${params.outdir}/plates/${plate}' '${params.outdir}/plates/${plate}.problems.txt' \\
        ${params.options}
    i2r export '${params.outdir}/plates/${plate}' --format parquet -o ${plate}.parquet --yes
    """
}

process SCREEN {
    cpus params.cpus
    publishDir params.outdir, mode: 'copy'

    input:
    path features, stageAs: 'features/*'

    output:
    path 'screen.csv'

    script:
    """
    mkdir -p '${params.outdir}/features'
    cp -L features/* '${params.outdir}/features/'
    '${projectDir}/run-i2r.sh' '${file(params.screen)}' '${params.outdir}/screen' \\
        '${params.outdir}/screen.problems.txt' ${params.options}
    i2r export '${params.outdir}/screen' --format csv --name screen -o screen.csv --yes
    """
}

workflow {
    PLATE(Channel.fromList(params.plates.tokenize(',')))
    SCREEN(PLATE.out.collect())
}
