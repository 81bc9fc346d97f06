"""What the long campaigns have in common: one run on a cluster of its own, told on the terminal."""


def say(text):
    print(text, flush=True)


def run_campaign(name, cluster, run, repeat=""):
    """`run()` returns what has a summary(). The exit status: 0 all held, 1 something did not."""
    try:
        print(run().summary())
        cluster.close()
    except AssertionError as error:
        cluster.keep = True
        cluster.shut_down()
        cluster.print_logs(30)
        print(f"{name}: FAILED: {error}" + (f"\nrepeat: tests/cluster/{name}.py {repeat}" if repeat else ""))
        return 1
    except KeyboardInterrupt:
        cluster.shut_down()
        cluster.remove()
        return 130
    print(f"{name}: ok")
    return 0
