package Pvesr::Takeover;

# Loaded into pvescheduler by its drop-in: replication is left to pvesrd. All Perl programs that pvescheduler starts load this, too;
# it does nothing in them. Where the function is gone the scheduler goes on as ever, and `pvesr takeover status` says so.
use strict;
use warnings;

INIT {
    if ($0 =~ m{(?:\A|/)pvescheduler\z}) {
        no warnings;
        if (defined &PVE::API2::Replication::run_jobs) {
            *PVE::API2::Replication::run_jobs = sub { };
        } else {
            warn "pvesr: there is no PVE::API2::Replication::run_jobs to take over; replication jobs run as ever\n";
        }
    }
}

1;
