import ArgumentParser
import Foundation

/// A shop window for one book, in four services, and small servers beside it: what a mesh is shown with. It knows
/// nothing of the mesh that carries its calls.
@main
struct Bookinfo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bookinfo",
        abstract: "The demo application: a product page, details, reviews and ratings of a book.",
        discussion: """
            Each service is one process. The product page asks details and reviews; reviews v2 and v3 ask ratings, and \
            show them as black and red stars. All pass on the headers of traces and of the signed-in user.

            Whatever serves HTTP also answers
              GET  /health                          200
              GET  /admin/requests                  how many it answered, and how many of them it failed
              POST /admin/fail?rate=R[&status=S]    fail this share of the requests from now on, 0 to 1
              POST /admin/fail?next=N[&status=S]    fail the next N requests
              POST /admin/delay?by=D                hold every answer back so long: 2s, 300ms, 0s

            EXAMPLES
              bookinfo ratings --listen 127.0.0.1:9081
              bookinfo reviews --version v2 --listen 127.0.0.1:9082 --ratings http://127.0.0.1:9081
              bookinfo details --listen 127.0.0.1:9083
              bookinfo productpage --listen 127.0.0.1:9080 --details http://127.0.0.1:9083 \
            --reviews http://127.0.0.1:9082
            """,
        subcommands: [
            ProductPage.self, Details.self, Reviews.self, Ratings.self, HelloWorld.self, HTTPBin.self, Echo.self,
        ])

    static func main() async {
        // Whoever started this may have blocked signals, and what it cannot hear cannot end it.
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, nil)
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            exit(withError: error)
        }
    }
}
