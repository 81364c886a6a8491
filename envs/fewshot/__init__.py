"""Supervised few-shot learning as families of tasks: a trial is a stream of examples, an action is an answer.

At each step the agent is shown an example and, beside it, the right answer to the example before, where that is told;
it answers, and is rewarded for how good the answer was. Episode e has the e-th example of every class, so an adaptation
curve is by number of shots. After `shots` episodes answers are no longer told: what follows are queries, each of a
class drawn independently, so that none can be inferred from the others. What is right is privileged, as `answer`.
"""
