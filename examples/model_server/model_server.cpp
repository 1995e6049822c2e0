// A model server in plain C++: GET /predict?x=2 answers 3 * x + 1. One thread, one connection at a time.
// Usage: model_server HOST PORT

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

// The model: two weights, as if they came from long training.
static double predict(double x) { return 3 * x + 1; }

static std::string answer(const std::string& request) {
    const std::string route = "GET /predict?x=";
    std::string status = "404 Not Found", body = "ask for /predict?x=NUMBER\n";
    if (request.compare(0, route.size(), route) == 0) {
        char number[64];
        std::snprintf(number, sizeof number, "%.17g\n", predict(std::strtod(request.c_str() + route.size(), nullptr)));
        status = "200 OK";
        body = number;
    }
    return "HTTP/1.1 " + status + "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n\r\n" + body;
}

static void serve(int connection) {
    timeval patience{2, 0};  // one caller that says nothing must not keep out the others
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    std::string request;
    char part[4096];
    while (request.find("\r\n\r\n") == std::string::npos && request.size() < 65536) {
        ssize_t got = read(connection, part, sizeof part);
        if (got <= 0) return;  // a caller that only knocks, to see whether the port answers
        request.append(part, static_cast<size_t>(got));
    }
    const std::string reply = answer(request);
    for (size_t sent = 0; sent < reply.size();) {
        ssize_t wrote = write(connection, reply.data() + sent, reply.size() - sent);
        if (wrote <= 0) return;
        sent += static_cast<size_t>(wrote);
    }
}

static int fail(const char* what) {
    std::perror(what);
    return 1;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s HOST PORT\n", argv[0]);
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[2])));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) return fail("host");
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (listener < 0) return fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return fail("bind");
    if (listen(listener, 128) != 0) return fail("listen");
    std::printf("MODEL SERVER: serving on %s:%s\n", argv[1], argv[2]);
    std::fflush(stdout);
    for (;;) {
        int connection = accept(listener, nullptr, nullptr);
        if (connection < 0) continue;
        serve(connection);
        close(connection);
    }
}
