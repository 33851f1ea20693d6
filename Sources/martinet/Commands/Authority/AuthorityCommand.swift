import ArgumentParser

struct AuthorityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca",
        abstract: "Show and steer the certificate authority: its status, rotations, imports, bundle and journal.",
        discussion: """
            `martinet serve` is the authority of its trust domain: a root signs an intermediate, and the intermediate \
            signs the certificates of workloads, which are renewed at half their life. Roots and intermediates are \
            rotated on schedule: the new one is prepared (everyone learns to trust it), activated (certificates are \
            issued under it), and the old one is retired. A step waits until every proxy has acknowledged the step \
            before.

            EXAMPLES
              martinet ca status
              martinet ca rotate --root --wait
              martinet ca bundle > roots.pem
            """,
        subcommands: [
            AuthorityStatusCommand.self, RotateCommand.self, SigningRequestCommand.self, ImportCommand.self,
            BundleCommand.self, JournalCommand.self,
        ])
}
