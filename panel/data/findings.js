/* What a person can do about a finding of a node's doctor: the commands, as they are typed there. */

const PROGRAMS = /^(pvesr|pvesm|zfs|zpool|btrfs|lvremove|lvrename|qm|pct|rm|mv|umount|chattr|systemctl) /;

export function commandsOf(finding) {
    const quoted = [...finding.text.matchAll(/'([^']+)'/g)].map(([, text]) => text).filter((text) => PROGRAMS.test(text));
    return finding.state === 'left' ? [`pvesr doctor --guest ${finding.guest} --repair`, ...quoted] : quoted;
}
